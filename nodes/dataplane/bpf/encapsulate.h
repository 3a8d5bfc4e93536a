// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// LISP headers around packets (RFC 9300 section 5.3), byte for byte as nodes/dataplane/encapsulation.py writes them.
#pragma once

#include "account.h"
#include "flow.h"
#include "gate.h"
#include "route.h"

#define LISP_PORT 4341
#define LISP_L bpf_htonl(0x40000000)  // Locator-Status-Bits are there
#define LISP_I bpf_htonl(0x08000000)  // the Instance ID bit
#define LISP_KK bpf_htonl(0x03000000) // the key of an encrypted packet (RFC 8061)
#define DONT_FRAGMENT 0x4000

struct lisp_header {
	__be32 flags;
	__be32 instance; // << 8 | Locator-Status-Bits
};

struct over_ipv4 {
	struct iphdr ip;
	struct udphdr udp;
	struct lisp_header lisp;
};

struct over_ipv6 {
	struct ipv6hdr ip;
	struct udphdr udp;
	struct lisp_header lisp;
};

static __always_inline __u32 overhead_over(__u8 version)
{
	return version == 4 ? sizeof(struct over_ipv4) : sizeof(struct over_ipv6);
}

// Where a packet goes, and by what header.
struct tunnel {
	__u32 instance;
	__u32 tells; // 1: with `status_bits`
	__u32 status_bits;
	__u32 hash;
	__u32 index; // of the locator
	__u32 version; // of the locator
	__u32 most; // bytes that an inner packet may have on this way
	int found;
	struct bpf_fib_lookup way;
};

// Stacks are short: each CPU has one, for the packet that it is at.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tunnel);
} scratch SEC(".maps");

static __always_inline struct tunnel *new_tunnel(__u32 instance)
{
	__u32 zero = 0;
	struct tunnel *tunnel = bpf_map_lookup_elem(&scratch, &zero);

	if (tunnel) {
		__builtin_memset(tunnel, 0, sizeof(*tunnel));
		tunnel->instance = instance;
	}
	return tunnel;
}

static __always_inline int find_way(struct __sk_buff *skb, const struct packet *packet, const struct locator *locator,
				    struct tunnel *tunnel)
{
	struct bpf_fib_lookup *way = &tunnel->way;

	set_ends(way, locator->version, locator->source, locator->address);
	way->ifindex = LOOPBACK;
	way->l4_protocol = IPPROTO_UDP;
	way->sport = source_port(tunnel->hash);
	way->dport = bpf_htons(LISP_PORT);
	// RFC 9300 section 7.1: the outer packet is never fragmented. Too big for the link: the stack says so to the host.
	way->tot_len = packet->segment + overhead_over(locator->version);
	return bpf_fib_lookup(skb, way, sizeof(*way), 0);
}

// Choose the packet's locator and find the way to it. False: it is the stack's; nothing is changed yet.
__noinline bool plan(struct __sk_buff *skb, const struct packet *packet, const struct mapping *mapping,
		     struct tunnel *tunnel)
{
	struct locator *locator;
	__u32 index;

	if (!packet || !mapping || !tunnel)
		return false;
	tunnel->hash = flow_hash(packet);
	index = choose(mapping, tunnel->hash);
	locator = bpf_map_lookup_elem(&locators, &index);
	if (!locator || packet->segment > locator->mtu)
		return false;
	tunnel->index = index;
	tunnel->version = locator->version;
	// The outer length has 16 bits: a super-packet of nearly 64 KiB is cut by the stack.
	if (packet->length + overhead_over(6) > 0xFFFF)
		return false;
	tunnel->found = find_way(skb, packet, locator, tunnel);
	if (!is_way(tunnel->found))
		return false;
	tunnel->most = tunnel->way.mtu_result - overhead_over(locator->version);
	if (tunnel->most > locator->mtu)
		tunnel->most = locator->mtu;
	return true;
}

static __always_inline void fill_udp(struct udphdr *udp, struct lisp_header *lisp, const struct packet *packet,
				     const struct tunnel *tunnel)
{
	udp->source = source_port(tunnel->hash);
	udp->dest = bpf_htons(LISP_PORT);
	udp->len = bpf_htons(packet->length + sizeof(*udp) + sizeof(*lisp));
	// Section 5.3: the checksum stays 0. N, E, V and the reserved bits do, too (requirements D08, D10).
	if (tunnel->tells) {
		lisp->flags = LISP_L;
		lisp->instance = bpf_htonl(tunnel->status_bits);
	}
	if (tunnel->instance) { // it leaves room for eight bits
		lisp->flags |= LISP_I;
		lisp->instance = bpf_htonl(tunnel->instance << 8 | (tunnel->status_bits & 0xFF));
	}
}

static __always_inline int write_over_ipv4(struct __sk_buff *skb, const struct packet *packet,
					   const struct tunnel *tunnel, const struct locator *locator,
					   __u8 tos, __u8 ttl)
{
	struct over_ipv4 outer = {
		.ip.version = 4,
		.ip.ihl = 5,
		.ip.tos = tos, // RFC 6040 section 4.1: the ECN field is copied
		.ip.tot_len = bpf_htons(packet->length + overhead_over(4)),
		.ip.frag_off = bpf_htons(DONT_FRAGMENT), // section 7.1
		.ip.ttl = ttl,
		.ip.protocol = IPPROTO_UDP,
	};

	__builtin_memcpy(&outer.ip.saddr, locator->source, sizeof(outer.ip.saddr));
	__builtin_memcpy(&outer.ip.daddr, locator->address, sizeof(outer.ip.daddr));
	outer.ip.check = header_checksum(&outer.ip);
	fill_udp(&outer.udp, &outer.lisp, packet, tunnel);
	return bpf_skb_store_bytes(skb, ETH_HLEN, &outer, sizeof(outer), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline int write_over_ipv6(struct __sk_buff *skb, const struct packet *packet,
					   const struct tunnel *tunnel, const struct locator *locator,
					   __u8 tos, __u8 ttl)
{
	struct over_ipv6 outer = {
		.ip.payload_len = bpf_htons(packet->length + sizeof(outer.udp) + sizeof(outer.lisp)),
		.ip.nexthdr = IPPROTO_UDP,
		.ip.hop_limit = ttl,
	};
	// The flow label names the flow as the port does (RFC 6438).
	__be32 first = bpf_htonl(6 << 28 | tos << 20 | bpf_ntohs(source_port(tunnel->hash)));

	__builtin_memcpy(&outer.ip, &first, sizeof(first));
	__builtin_memcpy(&outer.ip.saddr, locator->source, sizeof(outer.ip.saddr));
	__builtin_memcpy(&outer.ip.daddr, locator->address, sizeof(outer.ip.daddr));
	fill_udp(&outer.udp, &outer.lisp, packet, tunnel);
	return bpf_skb_store_bytes(skb, ETH_HLEN, &outer, sizeof(outer), BPF_F_RECOMPUTE_CSUM);
}

// Write the headers where there is room for them, with this DSCP, ECN and TTL. Not 0: the kernel refused.
__noinline int write_outer(struct __sk_buff *skb, const struct packet *packet, const struct tunnel *tunnel, __u8 tos,
			   __u8 ttl)
{
	struct locator *locator;
	__u32 index;

	if (!packet || !tunnel)
		return -EINVAL;
	index = tunnel->index;
	locator = bpf_map_lookup_elem(&locators, &index);
	if (!locator || locator->version != tunnel->version) // taken away meanwhile
		return -EINVAL;
	if (tunnel->version == 4)
		return write_over_ipv4(skb, packet, tunnel, locator, tos, ttl);
	return write_over_ipv6(skb, packet, tunnel, locator, tos, ttl);
}

// The daemon's TUN device goes with the daemon: without it nobody would keep the tables right.
static __always_inline bool is_alive(struct __sk_buff *skb, __u32 device)
{
	__u32 mtu = 0;

	return bpf_check_mtu(skb, device, &mtu, 0, 0) >= 0;
}

static __always_inline void note_sending(const struct packet *packet, const struct tunnel *tunnel, __u64 now)
{
	__u32 index = tunnel->index;
	struct locator *locator = bpf_map_lookup_elem(&locators, &index);

	if (locator)
		note_contact(scope_of(tunnel->instance, packet->version), packet->source, tunnel->version,
			     locator->address, now);
}

static __always_inline void account(const struct packet *packet, struct mapping *mapping, const struct tunnel *tunnel,
				    __u64 now)
{
	struct counter *counter = bpf_map_lookup_elem(&locator_counters, &tunnel->index);

	add(&mapping->counter, packet, now);
	if (counter)
		add(counter, packet, now);
	count(STAT_ENCAPSULATED, packet->count);
	count(STAT_ENCAPSULATED_BYTES, bytes_of(packet));
	note_sending(packet, tunnel, now);
}
