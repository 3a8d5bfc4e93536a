// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Out of one LISP header, into another: at an RTR, and at the xTR that a host left.
#pragma once

#include "decapsulate.h"

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

// What is to be done about a packet from where the stack is not deep (the kernel allows 512 bytes in all).
#define REENCAPSULATE -3 // an RTR
#define HAND_OVER -4     // the same, to the daemon, by the instance's transit device
#define SEND_ON -5       // its host is not here

// By a tunnel that was planned; the packet's TTL is done.
static __always_inline int put_again(struct __sk_buff *skb, const struct arrived *arrived, struct mapping *mapping,
				     const struct tunnel *tunnel)
{
	int verdict = replace_outer(skb, arrived, tunnel);

	if (is_passed(verdict)) {
		account(&arrived->inner, mapping, tunnel, bpf_ktime_get_ns());
		account_arrived(arrived);
		count(STAT_REENCAPSULATED, arrived->inner.count);
	}
	return verdict;
}

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
	verdict = put_again(skb, arrived, mapping, tunnel);
	if (is_passed(verdict))
		know_again(skb, arrived, mapping, tunnel);
	return verdict;
}

// Whether a packet came from one of the locators that it would go to: two sites that each take the other one for its
// host's.
__noinline bool leads_back(const struct arrived *arrived, const struct mapping *mapping)
{
	struct locator *locator;
	__u32 index;

	if (!arrived || !mapping)
		return true;
	for (__u32 i = 0; i < LISP_MOST_CANDIDATES && i < mapping->count; i++) {
		index = mapping->candidates[i].locator;
		locator = bpf_map_lookup_elem(&locators, &index);
		if (!locator || (locator->version == arrived->outer.version &&
				 is_same((const __be32 *)locator->address, arrived->outer.source)))
			return true;
	}
	return false;
}

// Requirement X06: the host of a packet has left. It goes on by a newer mapping than its sender's, never back. Its flow is
// not remembered: each packet is one of which the daemon may have to be told. Nothing waits in a device for this mapping's
// sake (is_open): what is left to the daemon goes there by its socket, and the daemon has read that before it writes one.
__noinline int send_on(struct __sk_buff *skb, struct arrived *arrived)
{
	struct eid_key destination;
	struct mapping *mapping;
	struct tunnel *tunnel;
	__u32 *device;

	if (!arrived)
		return TC_ACT_UNSPEC;
	tunnel = new_tunnel(arrived->instance);
	device = device_of(arrived->instance);
	if (!tunnel || !device || arrived->ttl <= 1 || !is_alive(skb, *device))
		return TC_ACT_UNSPEC;
	if (arrived->congested)
		return drop(STAT_DROP_CONGESTION);
	destination = host_key(arrived->instance, arrived->inner.version, arrived->inner.destination);
	mapping = bpf_map_lookup_elem(&map_cache, &destination);
	if (!mapping || mapping->action != ACTION_ENCAPSULATE || leads_back(arrived, mapping) ||
	    !plan(skb, &arrived->inner, mapping, tunnel))
		return TC_ACT_UNSPEC;
	arrived->ttl--;
	return put_again(skb, arrived, mapping, tunnel);
}

// Requirement X06: whoever sends it here goes by an old mapping.
__noinline int tell_absent(struct __sk_buff *skb, const struct arrived *arrived)
{
	struct event event = {.kind = EVENT_ABSENT, .interface = skb->ifindex};

	if (!arrived)
		return 0;
	event.about.scope = scope_of(arrived->instance, arrived->inner.version);
	event.about.rloc_version = arrived->outer.version;
	__builtin_memcpy(event.about.eid, arrived->inner.destination, sizeof(event.about.eid));
	__builtin_memcpy(event.about.rloc, arrived->outer.source, sizeof(event.about.rloc));
	return tell(&event);
}
