// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Out of LISP headers: what nodes/dataplane/decision_inbound.py would deliver, forward natively (PETR) or encapsulate again
// (RTR, or for a host that left). What is left to the stack arrives at the daemon's socket; what is malformed arrives
// nowhere.
#pragma once

#include "again.h"

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

// Whether the host of an address that is `entry`'s is elsewhere, or nobody knows where. A home site (requirement X10) has
// its hosts here, whether they were found or not, until it learns where else one is.
static __always_inline bool is_absent(const struct local *entry, const struct eid_key *destination)
{
	struct mapping *mapping;

	if (!(entry->flags & LOCAL_DYNAMIC) || entry->flags & LOCAL_HOST)
		return false;
	if (!(entry->flags & LOCAL_EID))
		return true;
	mapping = bpf_map_lookup_elem(&map_cache, destination);
	return mapping && mapping->action == ACTION_ENCAPSULATE;
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
		if (is_absent(entry, &destination))
			return is_behind_us(&source) ? TC_ACT_UNSPEC : SEND_ON;
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
	if (verdict == SEND_ON) {
		tell_absent(skb, arrived);
		verdict = send_on(skb, arrived);
	}
	if (verdict == TC_ACT_UNSPEC)
		count(STAT_TO_STACK, 1);
	return verdict;
}
