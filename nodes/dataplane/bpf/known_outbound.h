// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Known flows into LISP headers.
#pragma once

#include "known.h"

static __always_inline struct flow *place_outwards(const struct packet *packet)
{
	return place_of(packet, packet->ports ^ packet->protocol);
}

// Whether the flow, which is to be encapsulated, is that of the packet.
static __always_inline bool is_outwards(const struct flow *flow, const struct packet *packet, __u32 interface)
{
	return flow->interface == interface && !flow->rloc_version &&
	       (flow->scope & bpf_htonl(0xFF)) == bpf_htonl(packet->version) &&
	       flow->protocol == packet->protocol && flow->ports == packet->ports && is_between(flow, packet);
}

// The packet has left by this tunnel, inside the header that it has now: so will the flow's next ones. False: no way.
static __always_inline bool remember_tunnel(struct __sk_buff *skb, struct flow *flow, const struct packet *packet,
					    const struct mapping *mapping, const struct tunnel *tunnel)
{
	int refused;

	if (tunnel->version == 4)
		refused = bpf_skb_load_bytes(skb, ETH_HLEN, flow->header + ETH_HLEN, sizeof(struct over_ipv4));
	else
		refused = bpf_skb_load_bytes(skb, ETH_HLEN, flow->header + ETH_HLEN, sizeof(struct over_ipv6));
	if (refused)
		return false;
	address((struct ethhdr *)flow->header, &tunnel->way, tunnel->version);
	name(flow, packet, tunnel->instance);
	flow->interface = skb->ifindex;
	flow->way = tunnel->way.ifindex;
	flow->most = tunnel->most;
	flow->version = tunnel->version;
	flow->locator = tunnel->index;
	flow->bits = mapping->bits;
	flow->mapping = mapping->number;
	return true;
}

// A packet was encapsulated, and left by a way on which every address is known.
__noinline int know_outwards(struct __sk_buff *skb, const struct packet *packet, const struct mapping *mapping,
			     const struct tunnel *tunnel, __u32 generation)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	struct flow *flow;

	if (!packet || !mapping || !tunnel || packet->fragment || tunnel->found != BPF_FIB_LKUP_RET_SUCCESS)
		return 0;
	flow = place_outwards(packet);
	flow = vacate(flow, flow && is_outwards(flow, packet, skb->ifindex), generation, now);
	if (!flow || !remember_tunnel(skb, flow, packet, mapping, tunnel))
		return 0;
	flow->rloc_version = 0;
	flow->generation = generation;
	flow->until = now + LIFE;
	return 0;
}

static __always_inline bool put_over_ipv4(struct __sk_buff *skb, const struct packet *packet, const struct flow *flow,
					  __u8 tos, __u8 ttl)
{
	void *frame = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct over_ipv4 *outer = frame + ETH_HLEN;

	if ((void *)(outer + 1) + sizeof(struct iphdr) > end)
		return false;
	copy_words(frame, flow->header, ETH_HLEN + sizeof(*outer));
	outer->ip.tos = tos;
	outer->ip.ttl = ttl;
	outer->ip.tot_len = bpf_htons(packet->length + sizeof(*outer));
	outer->ip.check = 0;
	outer->ip.check = header_checksum(&outer->ip);
	outer->udp.len = bpf_htons(packet->length + sizeof(*outer) - sizeof(outer->ip));
	write_tos_and_ttl((void *)(outer + 1), packet, tos, ttl);
	return true;
}

static __always_inline bool put_over_ipv6(struct __sk_buff *skb, const struct packet *packet, const struct flow *flow,
					  __u8 tos, __u8 ttl)
{
	void *frame = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct over_ipv6 *outer = frame + ETH_HLEN;
	__be32 *first = (__be32 *)outer;

	if ((void *)(outer + 1) + sizeof(struct iphdr) > end)
		return false;
	copy_words(frame, flow->header, ETH_HLEN + sizeof(*outer));
	*first = (*first & bpf_htonl(0xF00FFFFF)) | bpf_htonl((__u32)tos << 20);
	outer->ip.hop_limit = ttl;
	outer->ip.payload_len = bpf_htons(packet->length + sizeof(*outer) - sizeof(outer->ip));
	outer->udp.len = outer->ip.payload_len;
	write_tos_and_ttl((void *)(outer + 1), packet, tos, ttl);
	return true;
}

// Write the flow's header where there is room for it, with this DSCP, ECN and TTL.
static __always_inline bool put(struct __sk_buff *skb, const struct packet *packet, const struct flow *flow, __u8 tos,
				__u8 ttl)
{
	return flow->version == 4 ? put_over_ipv4(skb, packet, flow, tos, ttl) : put_over_ipv6(skb, packet, flow, tos, ttl);
}

static __always_inline void account_known(struct flow *flow, const struct packet *packet, __u64 now)
{
	__u32 index = flow->locator;
	struct counter *counter = bpf_map_lookup_elem(&locator_counters, &index);

	flow->counter.packets += packet->count;
	flow->counter.bytes += bytes_of(packet);
	flow->counter.last = now;
	if (counter)
		add(counter, packet, now);
	count(STAT_ENCAPSULATED, packet->count);
	count(STAT_ENCAPSULATED_BYTES, bytes_of(packet));
}

// Send a packet the way of its flow, if it is known and the packet has nothing odd about it.
__noinline int go_outwards(struct __sk_buff *skb, const struct packet *packet, __u32 generation)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	struct flow *flow;

	if (!packet)
		return TC_ACT_UNSPEC;
	flow = place_outwards(packet);
	if (!flow || !is_valid(flow, generation, now) || !is_outwards(flow, packet, skb->ifindex))
		return TC_ACT_UNSPEC;
	if (packet->fragment || packet->ttl <= 1 || packet->segment > flow->most || is_summed(skb) ||
	    packet->length + overhead_over(6) > 0xFFFF || trim(skb, ETH_HLEN + packet->length))
		return TC_ACT_UNSPEC;
	if (grow(skb, overhead_over(flow->version), flow->version, packet->version))
		goto refused;
	if (!put(skb, packet, flow, packet->tos, packet->ttl - 1))
		goto refused;
	account_known(flow, packet, now);
	return bpf_redirect(flow->way, 0);
refused:
	count(STAT_DROP_KERNEL, 1);
	return TC_ACT_SHOT;
}
