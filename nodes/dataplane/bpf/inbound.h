// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Out of LISP headers: what decide_inbound in nodes/dataplane/decision.py would deliver, forward natively (PETR) or
// encapsulate again (RTR). What is left to the stack arrives at the daemon's socket; what is malformed arrives nowhere.
#pragma once

#include "known_again.h"

enum ecn { NOT_ECT, ECT1, ECT0, CE };

static __always_inline int drop(enum statistic reason)
{
	count(reason, 1);
	return TC_ACT_SHOT;
}

// For whomever it is.
static __always_inline bool is_lisp_data(const struct packet *packet)
{
	return packet->protocol == IPPROTO_UDP && !packet->fragment && (packet->ports & 0xFFFF) == LISP_PORT;
}

// What DSCP, ECN and TTL become.
static __always_inline void join(struct arrived *arrived)
{
	__u8 outside = arrived->outer.tos & 3, inside = arrived->inner.tos & 3;

	// RFC 6040 section 4.2, figure 4.
	arrived->congested = outside == CE && !inside;
	if (outside == CE || (outside == ECT1 && inside == ECT0))
		inside = outside;
	arrived->tos = (arrived->outer.tos & 0xFC) | inside; // the outer DSCP: RFC 9300 section 5.3
	// The same section: the outer TTL, where it is the smaller one, so that loops end.
	arrived->ttl = arrived->inner.ttl < arrived->outer.ttl ? arrived->inner.ttl : arrived->outer.ttl;
}

// Read what is behind the outer IP header. PARSED, or what is wrong with it; `skb` is not changed.
__noinline int parse_lisp(struct __sk_buff *skb, struct arrived *arrived)
{
	const struct {
		struct udphdr udp;
		struct lisp_header lisp;
	} *header;
	const struct udphdr *udp;
	__u32 at, length;
	int parsed;

	if (!arrived)
		return ODD;
	at = ETH_HLEN + arrived->outer.header;
	udp = find(skb, at, sizeof(*udp));
	if (!udp)
		return ODD;
	length = bpf_ntohs(udp->len);
	if (length < sizeof(*udp) || arrived->outer.header + length > arrived->outer.length)
		return ODD; // no UDP packet: the kernel counts it as such
	header = find(skb, at, sizeof(*header));
	if (!header || length <= sizeof(*header))
		return MALFORMED;
	if (header->lisp.flags & LISP_KK)
		return ENCRYPTED;
	// Requirements D06 to D08: nonce, versions and the reserved bits are not looked at.
	arrived->tells = header->lisp.flags & LISP_L;
	arrived->status_bits = bpf_ntohl(header->lisp.instance);
	if (header->lisp.flags & LISP_I) {
		arrived->instance = arrived->status_bits >> 8;
		arrived->status_bits |= 0xFFFFFF00;
	}
	arrived->room = arrived->outer.header + sizeof(*header);
	length -= sizeof(*header);
	at += sizeof(*header);
	parsed = parse(skb, at, length, &arrived->inner);
	if (parsed == PARSED && !measure(skb, at, length, &arrived->inner))
		return ODD;
	return parsed;
}

// Take off the outer headers, write DSCP, ECN and TTL. TC_ACT_OK: done; otherwise it is dropped or the stack's.
static __always_inline int strip(struct __sk_buff *skb, const struct arrived *arrived, bool insist)
{
	const struct packet *inner = &arrived->inner;

	if (trim(skb, ETH_HLEN + arrived->room + inner->length) ||
	    shrink(skb, arrived->room, arrived->outer.version, inner->version, insist))
		return TC_ACT_UNSPEC;
	if (rewrite(skb, ETH_HLEN, inner, arrived->tos, arrived->ttl))
		return drop(STAT_DROP_KERNEL);
	return TC_ACT_OK;
}

__noinline int account_arrived(const struct arrived *arrived)
{
	const struct packet *inner;

	if (!arrived)
		return 0;
	inner = &arrived->inner;
	count(STAT_DECAPSULATED, inner->count);
	count(STAT_DECAPSULATED_BYTES, bytes_of(inner));
	note_contact(scope_of(arrived->instance, inner->version), inner->destination, arrived->outer.version,
		     arrived->outer.source, bpf_ktime_get_ns());
	return 0;
}

// To where the stack would route the packet out of the TUN device. It does that itself where there is more to do than to
// pass it on: ICMP, fragmentation, delivery to this router, a host that does not answer yet and perhaps never will.
__noinline int pass_on(struct __sk_buff *skb, struct arrived *arrived, __u32 device)
{
	struct bpf_fib_lookup way = {.ifindex = device};
	const struct packet *inner;
	int found, verdict;

	if (!arrived)
		return TC_ACT_UNSPEC;
	inner = &arrived->inner;
	way.tot_len = inner->segment;
	set_ends(&way, inner->version, inner->source, inner->destination);
	found = bpf_fib_lookup(skb, &way, sizeof(way), 0);
	if (found < 0) // the device is gone, and the daemon with it
		return TC_ACT_UNSPEC;
	if (arrived->congested)
		return drop(STAT_DROP_CONGESTION);
	if (arrived->ttl <= 1)
		found = BPF_FIB_LKUP_RET_NOT_FWDED;
	if (found == BPF_FIB_LKUP_RET_SUCCESS)
		arrived->ttl--;
	verdict = strip(skb, arrived, found != BPF_FIB_LKUP_RET_SUCCESS);
	if (verdict != TC_ACT_OK)
		return verdict;
	if (found != BPF_FIB_LKUP_RET_SUCCESS)
		return bpf_redirect(device, BPF_F_INGRESS);
	verdict = take(skb, found, &way, inner->version);
	if (is_passed(verdict))
		know_inwards(skb, arrived, &way);
	return verdict;
}

static __always_inline int deliver(struct __sk_buff *skb, struct arrived *arrived)
{
	__u32 *device = device_of(arrived->instance);

	int verdict = device ? pass_on(skb, arrived, *device) : TC_ACT_UNSPEC;

	if (is_passed(verdict))
		account_arrived(arrived);
	return verdict;
}

// RFC 6832 section 6: a PETR. Natively there is one address space only, that of instance 0.
static __always_inline int forward_natively(struct __sk_buff *skb, struct arrived *arrived, const struct port *port)
{
	struct eid_key destination = host_key(0, arrived->inner.version, arrived->inner.destination);
	int verdict;

	// Requirement S01: hosts do not reach the RLOC space, by no way round.
	if (is_aggregate(&destination, AGGREGATE_RLOC) || is_own(arrived->inner.version, arrived->inner.destination))
		return TC_ACT_UNSPEC;
	arrived->native = true;
	verdict = pass_on(skb, arrived, port->device);
	if (is_passed(verdict)) {
		account_arrived(arrived);
		count(STAT_NATIVE, arrived->inner.count);
	}
	return verdict;
}

// The outer header of the same IP version is written over the old one; another version's needs room of another size.
__noinline int replace_outer(struct __sk_buff *skb, const struct arrived *arrived, const struct tunnel *tunnel)
{
	const struct packet *inner;
	bool refused;

	if (!arrived || !tunnel)
		return TC_ACT_UNSPEC;
	inner = &arrived->inner;
	if (make_room_again(skb, arrived, tunnel->version, &refused) && !refused)
		return TC_ACT_UNSPEC;
	if (refused || rewrite(skb, ETH_HLEN + overhead_over(tunnel->version), inner, arrived->tos, arrived->ttl) ||
	    write_outer(skb, inner, tunnel, arrived->tos, arrived->ttl))
		return drop(STAT_DROP_KERNEL);
	return take(skb, tunnel->found, &tunnel->way, tunnel->version);
}

// What an RTR does about a packet: called from where the stack is not deep (the kernel allows 512 bytes in all).
#define REENCAPSULATE -3
#define HAND_OVER -4 // to the daemon, by the instance's transit device

// What an RTR does not send on by itself waits in the daemon.
__noinline int hand_over(struct __sk_buff *skb, const struct arrived *arrived)
{
	struct transit *transit;
	int verdict;

	if (!arrived)
		return TC_ACT_UNSPEC;
	transit = transit_of(arrived->instance);
	if (!transit)
		return TC_ACT_UNSPEC;
	verdict = strip(skb, arrived, false);
	if (verdict != TC_ACT_OK)
		return verdict;
	note_contact(scope_of(arrived->instance, arrived->inner.version), arrived->inner.destination,
		     arrived->outer.version, arrived->outer.source, bpf_ktime_get_ns());
	return bpf_redirect(transit->device, 0);
}

// An RTR: out of one LISP header, into another (requirement D14: decapsulation, then encapsulation, for ECN and TTL).
__noinline int reencapsulate(struct __sk_buff *skb, struct arrived *arrived)
{
	struct eid_key destination;
	struct mapping *mapping;
	struct transit *transit;
	struct tunnel *tunnel;
	int verdict;

	if (!arrived)
		return TC_ACT_UNSPEC;
	tunnel = new_tunnel(arrived->instance);
	transit = transit_of(arrived->instance);
	// Without a hop left it is the daemon's by its socket: it tells the sender.
	if (!tunnel || !transit || arrived->ttl <= 1 || !is_alive(skb, transit->device))
		return TC_ACT_UNSPEC;
	if (arrived->congested)
		return drop(STAT_DROP_CONGESTION);
	arrived->ttl--;
	destination = host_key(arrived->instance, arrived->inner.version, arrived->inner.destination);
	mapping = bpf_map_lookup_elem(&map_cache, &destination);
	if (!mapping || mapping->action != ACTION_ENCAPSULATE ||
	    !passes(&mapping->open, mapping->open_until, transit->gate, transit->beside) ||
	    !plan(skb, &arrived->inner, mapping, tunnel))
		return HAND_OVER;
	verdict = replace_outer(skb, arrived, tunnel);
	if (is_passed(verdict)) {
		account(&arrived->inner, mapping, tunnel, bpf_ktime_get_ns());
		account_arrived(arrived);
		count(STAT_REENCAPSULATED, arrived->inner.count);
		know_again(skb, arrived, mapping, tunnel);
	}
	return verdict;
}

// Requirement X06: whoever sends it here goes by an old mapping.
__noinline int tell_absent(struct __sk_buff *skb, const struct arrived *arrived)
{
	struct event event = {.kind = EVENT_ABSENT, .interface = skb->ifindex};

	if (!arrived)
		return TC_ACT_UNSPEC;
	event.about.scope = scope_of(arrived->instance, arrived->inner.version);
	event.about.rloc_version = arrived->outer.version;
	__builtin_memcpy(event.about.eid, arrived->inner.destination, sizeof(event.about.eid));
	__builtin_memcpy(event.about.rloc, arrived->outer.source, sizeof(event.about.rloc));
	tell(&event);
	return TC_ACT_UNSPEC;
}

// RFC 9300 section 10: a change of the Locator-Status-Bits. The daemon knows which locators they are of.
__noinline int hear(const struct arrived *arrived)
{
	struct event event = {.kind = EVENT_STATUS};
	__u32 *before;

	if (!arrived)
		return 0;
	event.status_bits = arrived->status_bits;
	event.about.scope = scope_of(arrived->instance, arrived->inner.version);
	event.about.rloc_version = arrived->outer.version;
	__builtin_memcpy(event.about.eid, arrived->inner.source, sizeof(event.about.eid));
	__builtin_memcpy(event.about.rloc, arrived->outer.source, sizeof(event.about.rloc));
	before = bpf_map_lookup_elem(&heard, &event.about);
	if (before && *before == event.status_bits)
		return 0;
	if (bpf_ringbuf_output(&events, &event, sizeof(event), 0))
		count(STAT_EVENTS_LOST, 1); // the next packet says it again
	else
		bpf_map_update_elem(&heard, &event.about, &event.status_bits, BPF_ANY);
	return 0;
}

// Whether an address is a host's or a gateway's of this site. It does not send through the core: the stack refuses what is
// its own or a broadcast, the daemon looks at the rest.
static __always_inline bool is_behind_us(const struct eid_key *source)
{
	struct local *entry = bpf_map_lookup_elem(&local, source);

	return entry && (!(entry->flags & LOCAL_DYNAMIC) || entry->flags & LOCAL_HOST);
}

// Whether nobody in the core can have sent it: a source that nobody has, this router's own, or one behind it.
static __always_inline bool is_impossible(const struct packet *outer)
{
	struct eid_key source = host_key(0, outer->version, outer->source);

	return !is_unicast(outer) || is_own(outer->version, outer->source) || is_behind_us(&source);
}

__noinline int decide(struct __sk_buff *skb, struct arrived *arrived, __u32 roles, const struct port *port)
{
	struct eid_key destination, source;
	const struct packet *inner;
	struct local *entry;
	bool has_eid;

	if (!arrived || !port)
		return TC_ACT_UNSPEC;
	inner = &arrived->inner;
	destination = host_key(arrived->instance, inner->version, inner->destination);
	source = host_key(arrived->instance, inner->version, inner->source);
	entry = bpf_map_lookup_elem(&local, &destination);
	if (entry) {
		if (!(roles & ROLE_ETR))
			return TC_ACT_UNSPEC;
		if (entry->flags & LOCAL_DYNAMIC && !(entry->flags & LOCAL_HOST))
			return tell_absent(skb, arrived);
		return entry->flags & LOCAL_EID && !is_behind_us(&source) ? deliver(skb, arrived) : TC_ACT_UNSPEC;
	}
	// Proxies serve the EIDs of others: what has no EID, and what would come straight back, is the daemon's to refuse.
	// RFC 6832 section 5: in instance 0 a PITR sends an RTR packets of sources that have no EID.
	has_eid = is_aggregate(&source, AGGREGATE_EID);
	if (is_aggregate(&destination, AGGREGATE_EID))
		return roles & ROLE_RTR && (has_eid || !arrived->instance) ? REENCAPSULATE : TC_ACT_UNSPEC;
	return roles & ROLE_PETR && has_eid ? forward_natively(skb, arrived, port) : TC_ACT_UNSPEC;
}

#define NOT_OURS -2 // it goes on to another router

static __always_inline int inbound(struct __sk_buff *skb, const struct settings *settings, struct arrived *arrived)
{
	int parsed = parse_lisp(skb, arrived), verdict;
	struct port *port;

	if (parsed == PARSED) {
		join(arrived);
		arrived->generation = settings->generation;
		verdict = settings->roles & ROLE_RTR ? go_again(skb, arrived) : TC_ACT_UNSPEC;
		if (verdict == TC_ACT_UNSPEC)
			verdict = go_inwards(skb, arrived);
		if (verdict != TC_ACT_UNSPEC)
			return verdict;
	}
	if (!is_own(arrived->outer.version, arrived->outer.destination))
		return NOT_OURS;
	port = port_of(skb);
	verdict = TC_ACT_UNSPEC;
	if (!port || is_impossible(&arrived->outer)) // the kernel drops it
		return TC_ACT_UNSPEC;
	if (parsed == MALFORMED)
		return drop(STAT_DROP_MALFORMED);
	if (parsed == ENCRYPTED)
		return drop(STAT_DROP_ENCRYPTED);
	if (parsed == PARSED && is_unicast(&arrived->inner))
		verdict = decide(skb, arrived, settings->roles, port);
	if (is_passed(verdict) && arrived->tells && settings->roles & ROLE_STATUS_BITS)
		hear(arrived);
	if (verdict == REENCAPSULATE)
		verdict = reencapsulate(skb, arrived);
	if (verdict == HAND_OVER)
		verdict = hand_over(skb, arrived);
	if (verdict == TC_ACT_UNSPEC)
		count(STAT_TO_STACK, 1);
	return verdict;
}
