// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the LISP router's daemon and its tc programs share: the kernel's maps. nodes/dataplane/bpf/layout.py is the other
// side of this file; a test compares the two by the object's BTF.
//
// The daemon writes, the programs read, but for counters, contacts, gates and events. What a program does not find here,
// or finds marked "stack", it leaves to the kernel's stack, and by it to the daemon: the tables never have to be complete.
#pragma once

#define LISP_MOST_CANDIDATES 16 // locators of one mapping; a mapping with more is the daemon's
#define LISP_MOST_LOCATORS 1024 // locators of all mappings together
#define LISP_MOST_FLOWS 128 // known at a time, by each CPU

// An EID-prefix. Tries match it bit by bit from `scope` on, so an instance-ID and an IP version never match another.
struct eid_key {
	__u32 length;     // bits: 32 for the scope and those of the prefix
	__be32 scope;     // instance-ID << 8 | IP version
	__u8 address[16]; // IPv4: the first four bytes, the others are zero
};

enum action {
	ACTION_STACK = 0,       // whatever it is, the daemon decides: a miss, a drop, native forwarding
	ACTION_ENCAPSULATE = 1, // to one of the candidates
	ACTION_PETR = 2,        // natively-forward, at an ITR that uses PETRs: the candidates are those; a PITR drops it
};

struct candidate {
	__u16 locator; // index in `locators`
	__u8 priority; // the lowest wins; 255 is never written
	__u8 weight;
};

struct counter {
	__u64 packets; // segments of a super-packet are counted one by one
	__u64 bytes;   // of inner packets
	__u64 last;    // CLOCK_MONOTONIC, ns
};

// One map-cache entry. It brings its counter along: a map of counters would cost every packet a lookup, every entry a
// second write, and every node a table of hash buckets as large as the largest map-cache. Who replaces an entry hands
// its counter on.
struct mapping {
	__u8 action;
	__u8 count; // of candidates, sorted by priority, then by address: IPv4 before IPv6
	__u8 open;  // set by a program, once nothing that came before is on its way through the daemon; then it stays set
	__u8 bits;  // of its EID-prefix
	__u32 number; // names it and its counter, among all that there ever are: `flows` counts for it
	__u64 open_until; // CLOCK_MONOTONIC, ns: when it opens in any case
	struct counter counter;
	struct candidate candidates[LISP_MOST_CANDIDATES];
};

// One RLOC that packets are sent to. Taking it down moves all its flows, whatever number of mappings it is in.
struct locator {
	__u8 version; // 4 or 6; 0: this place is empty
	__u8 usable;  // there is a route, its probes are answered
	__u16 mtu;    // largest inner packet in bytes (RFC 9300 sections 7.1 and 7.2)
	__u32 reserved;
	__u8 source[16]; // the own RLOC by the route to it (requirement S05)
	__u8 address[16];
};

enum local_flag {
	LOCAL_EID = 1,     // an EID of this site: encapsulated for, decapsulated for
	LOCAL_DYNAMIC = 2, // inside a permitted dynamic-EID prefix
	LOCAL_HOST = 4,    // a dynamic-EID that was found here; without it, a source with LOCAL_DYNAMIC is the daemon's
};

// What an entry of `local` says is the union of what all prefixes say that cover it.
struct local {
	__u8 flags;
	__u8 open;  // as in struct mapping
	__u8 tells; // 1: its packets carry `status_bits`
	__u8 reserved;
	__u32 status_bits; // which locators of the site are up (requirement D09)
	__u64 open_until;
};

// What an entry of `aggregates` says; the union of all prefixes that cover it, too.
enum aggregate_flag {
	AGGREGATE_EID = 1,  // an aggregate of all EIDs, in the instance of its scope (PITR, PETR, RTR)
	AGGREGATE_RLOC = 2, // the RLOC space, in instance 0: a PETR forwards nothing into it (requirement S01)
};

enum native_route {
	NATIVE_NULL0 = 0, // a candidate for encapsulation all the same (requirement S02)
	NATIVE_STACK = 1, // a specific route, or the RLOC space that hosts are denied (requirement S01)
};

#define NO_GATE 0xFFFFFFFF

// What an interface is (`ports`, by its index): a site port, a core port, an instance's TUN device or transit device.
struct port {
	__u32 instance; // instance-ID; a core port: 0
	__u32 device;   // index of the instance's TUN device
	__u32 gate;     // index in `gates`
};

// Where an RTR's packets between two sites go that its programs do not send on: a device of their own in each instance,
// without their old LISP header (`transits`). In it the kernel cuts super-packets, and its gate counts what waits.
struct transit {
	__u32 device; // its index
	__u32 gate;   // index in `gates`
	__u32 beside; // that of the instance's TUN device, whose packets go by the same mappings; NO_GATE: there is none
};

struct rloc_key {
	__u32 version;
	__u8 address[16];
};

// Packets handed to the daemon by a TUN device, and how many of those it is done with. The daemon has both mapped.
struct gate {
	__u64 punted;
	__u64 handled;
};

enum role_flag {
	ROLE_ITR = 1,
	ROLE_ETR = 2,
	ROLE_PITR = 4,
	ROLE_PETR = 8,
	ROLE_RTR = 16,
	ROLE_STATUS_BITS = 32, // it goes by the Locator-Status-Bits of others (requirement D09)
};

struct settings {
	__u32 enabled; // 0: every program leaves everything to the stack
	__u32 roles;
	__u32 generation; // another one after every change to any table: no flow is known any more
};

#define FLOW_AGAIN 0x10 // out of one LISP header, into another

// What was decided about a flow: its next packets go the same way, for a moment. All that names it is compared.
struct flow {
	__u32 generation; // in which it was decided
	__u32 interface;  // index of the one it comes in by
	__u64 until;      // CLOCK_MONOTONIC, ns: then it is decided anew
	// Its name.
	__be32 scope;       // instance-ID << 8 | IP version
	__u32 rloc_version; // of those headers (RTR: | FLOW_AGAIN); 0: it comes without, and is to be encapsulated
	__u32 protocol;     // and its ports, if it is to be encapsulated
	__u32 ports;
	__be32 source[4];
	__be32 destination[4];
	__be32 rloc[4]; // from which it comes, and to which, in LISP headers
	__be32 own[4];
	// Its way.
	__u32 way;     // index of the interface
	__u16 most;    // bytes of the largest packet, or segment, that fits
	__u8 version;  // of the locator
	__u8 native;   // 1: a PETR forwards it natively
	__u16 locator; // index in `locators`
	__u8 bits;     // of the mapping
	__u8 reserved;
	__u32 mapping; // its number
	struct counter counter; // what the mapping's own counter has not been told yet
	__u8 header[72]; // the frame's: Ethernet, and what it is encapsulated in
};

// With whom an EID of this site exchanged data last (requirement C34).
struct contact_key {
	__be32 scope; // instance-ID << 8 | IP version of the EID
	__u32 rloc_version;
	__u8 eid[16];
	__u8 rloc[16];
};

enum event_kind {
	EVENT_SOURCE = 1, // a frame of a source inside a dynamic prefix that is not known to be here (requirement X01)
	EVENT_ABSENT = 2, // a packet decapsulated for a host of a dynamic prefix that is not here (requirement X06)
	EVENT_STATUS = 3, // a source's Locator-Status-Bits are others than before (requirement D09)
};

// What the daemon was told lately (`told`): how each struct event begins.
struct told_key {
	__u32 kind; // enum event_kind
	struct contact_key about;
};

struct event {
	__u32 kind;
	struct contact_key about; // the source; or the inner destination; and the outer source as its RLOC
	__u32 interface;          // index of the interface the packet came in by
	__u8 mac[6];              // EVENT_SOURCE
	__u8 reserved[2];
	__u32 status_bits;        // EVENT_STATUS; those for which there is no room beside an instance-ID are 1
};

enum statistic {
	STAT_ENCAPSULATED,
	STAT_ENCAPSULATED_BYTES,
	STAT_DECAPSULATED,
	STAT_DECAPSULATED_BYTES,
	STAT_NATIVE,          // decapsulated and forwarded natively (PETR)
	STAT_REENCAPSULATED,  // decapsulated and encapsulated again (RTR)
	STAT_TO_STACK,        // left to the kernel's stack and the daemon
	STAT_DROP_MALFORMED,
	STAT_DROP_ENCRYPTED,
	STAT_DROP_CONGESTION, // CE outside, not ECN-capable inside (RFC 6040)
	STAT_DROP_KERNEL,     // the kernel refused to grow, shrink or redirect the packet
	STAT_EVENTS_LOST,
	STAT_COUNT,
};
