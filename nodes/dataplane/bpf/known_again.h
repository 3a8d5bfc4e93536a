// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Known flows out of one LISP header, into another (RTR).
#pragma once

#include "known_inbound.h"
#include "known_outbound.h"

// Unlike what is delivered, each flow between two hosts has its own place: its ports choose the locator.
static __always_inline struct flow *place_again(const struct arrived *arrived)
{
	const struct packet *inner = &arrived->inner;

	return place_of(inner, arrived->instance ^ arrived->outer.source[0] ^ arrived->outer.source[3] ^ inner->ports ^
				       inner->protocol);
}

static __always_inline bool is_again(const struct flow *flow, const struct arrived *arrived, __u32 interface)
{
	return flow->interface == interface && flow->rloc_version == (arrived->outer.version | FLOW_AGAIN) &&
	       flow->scope == scope_of(arrived->instance, arrived->inner.version) &&
	       flow->protocol == arrived->inner.protocol && flow->ports == arrived->inner.ports &&
	       is_same(flow->rloc, arrived->outer.source) && is_same(flow->own, arrived->outer.destination) &&
	       is_between(flow, &arrived->inner);
}

// A packet was put into another header, and left by a way on which every address is known.
__noinline int know_again(struct __sk_buff *skb, const struct arrived *arrived, const struct mapping *mapping,
			  const struct tunnel *tunnel)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	struct flow *flow;

	if (!arrived || !mapping || !tunnel || arrived->inner.fragment || tunnel->found != BPF_FIB_LKUP_RET_SUCCESS)
		return 0;
	flow = place_again(arrived);
	flow = vacate(flow, flow && is_again(flow, arrived, skb->ifindex), arrived->generation, now);
	if (!flow || !remember_tunnel(skb, flow, &arrived->inner, mapping, tunnel))
		return 0;
	flow->rloc_version = arrived->outer.version | FLOW_AGAIN;
	__builtin_memcpy(flow->rloc, arrived->outer.source, sizeof(flow->rloc));
	__builtin_memcpy(flow->own, arrived->outer.destination, sizeof(flow->own));
	flow->generation = arrived->generation;
	flow->until = now + LIFE;
	return 0;
}

// The room of the old header for the new one. Not 0: the packet is as it was; or, if `refused`, it is spoilt.
static __always_inline long make_room_again(struct __sk_buff *skb, const struct arrived *arrived, __u8 version,
					    bool *refused)
{
	__u8 before = arrived->outer.version, inside = arrived->inner.version;

	*refused = false;
	if (trim(skb, ETH_HLEN + arrived->room + arrived->inner.length))
		return -EINVAL;
	if (before == version)
		return 0;
	if (shrink(skb, arrived->room, before, inside, false))
		return -EINVAL; // a kernel before 6.3, and a packet shorter than the outer IP header
	*refused = grow(skb, overhead_over(version), version, inside) != 0;
	return *refused ? -EINVAL : 0;
}

// Send a packet the way of its flow, if it is known and the packet has nothing odd about it.
__noinline int go_again(struct __sk_buff *skb, const struct arrived *arrived)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	const struct packet *inner;
	struct flow *flow;
	bool refused;

	if (!arrived)
		return TC_ACT_UNSPEC;
	inner = &arrived->inner;
	flow = place_again(arrived);
	if (!flow || !is_valid(flow, arrived->generation, now) || !is_again(flow, arrived, skb->ifindex))
		return TC_ACT_UNSPEC;
	if (inner->fragment || arrived->ttl <= 1 || arrived->congested || inner->segment > flow->most || is_summed(skb) ||
	    inner->length + overhead_over(6) > 0xFFFF)
		return TC_ACT_UNSPEC;
	if (make_room_again(skb, arrived, flow->version, &refused) && !refused)
		return TC_ACT_UNSPEC;
	if (refused || !put(skb, inner, flow, arrived->tos, arrived->ttl - 1)) {
		count(STAT_DROP_KERNEL, 1);
		return TC_ACT_SHOT;
	}
	account_known(flow, inner, now);
	count(STAT_DECAPSULATED, inner->count);
	count(STAT_DECAPSULATED_BYTES, bytes_of(inner));
	count(STAT_REENCAPSULATED, inner->count);
	return bpf_redirect(flow->way, 0);
}
