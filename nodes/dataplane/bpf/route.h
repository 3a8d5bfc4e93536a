// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The way on: asked for before a packet is changed, taken afterwards.
#pragma once

#include "account.h"

#define AF_INET 2
#define AF_INET6 10
#define LOOPBACK 1 // the index of `lo`: looked up as the router's own packet, no rule about site ports matches

static __always_inline bool is_way(int found)
{
	return found == BPF_FIB_LKUP_RET_SUCCESS || found == BPF_FIB_LKUP_RET_NO_NEIGH;
}

static __always_inline __be16 ethertype(__u8 version)
{
	return version == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
}

static __always_inline void set_ends(struct bpf_fib_lookup *way, __u8 version, const void *source, const void *destination)
{
	way->family = version == 4 ? AF_INET : AF_INET6;
	if (version == 4) {
		way->ipv4_src = *(const __be32 *)source;
		way->ipv4_dst = *(const __be32 *)destination;
	} else {
		__builtin_memcpy(way->ipv6_src, source, sizeof(way->ipv6_src));
		__builtin_memcpy(way->ipv6_dst, destination, sizeof(way->ipv6_dst));
	}
}

// The next hop is known, its MAC address is not: the kernel asks for it. The next hop is said, lest the kernel looks for
// the route again, by other rules than those that found it.
static __always_inline int take_and_ask(const struct bpf_fib_lookup *way)
{
	struct bpf_redir_neigh next = {.nh_family = way->family};

	__builtin_memcpy(next.ipv6_nh, way->ipv6_dst, sizeof(next.ipv6_nh));
	return bpf_redirect_neigh(way->ifindex, &next, sizeof(next), 0);
}

static __always_inline void address(struct ethhdr *ethernet, const struct bpf_fib_lookup *way, __u8 version)
{
	__builtin_memcpy(ethernet->h_dest, way->dmac, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, way->smac, ETH_ALEN);
	ethernet->h_proto = ethertype(version);
}

static __always_inline int take_directly(struct __sk_buff *skb, const struct bpf_fib_lookup *way, __u8 version)
{
	struct ethhdr ethernet;

	address(&ethernet, way, version);
	if (bpf_skb_store_bytes(skb, 0, &ethernet, sizeof(ethernet), 0)) {
		count(STAT_DROP_KERNEL, 1);
		return TC_ACT_SHOT;
	}
	return bpf_redirect(way->ifindex, 0);
}

// A MAC address that the kernel has once learnt stays good for a lookup for ever: it asks whether the neighbour is still
// there only when the frame goes by its neighbour table. So one frame a second does.
static __always_inline bool is_to_be_asked(const struct bpf_fib_lookup *way)
{
	__u32 name = way->dmac[3] << 16 | way->dmac[4] << 8 | way->dmac[5];
	__u32 index = (name ^ way->ifindex) * 0x9E3779B1 >> (32 - NEIGHBOUR_BITS);
	__u64 now = bpf_ktime_get_coarse_ns(), *last = bpf_map_lookup_elem(&asked, &index);

	if (!last || now - *last < SECOND)
		return false;
	*last = now;
	return true;
}

// Send the frame, whose IP packet is of this version, the way that was found.
__noinline int take(struct __sk_buff *skb, int found, const struct bpf_fib_lookup *way, __u8 version)
{
	if (!way)
		return TC_ACT_SHOT;
	if (found != BPF_FIB_LKUP_RET_SUCCESS)
		return take_and_ask(way);
	// A kernel before 6.3 may believe in another version (shrink), and would look in that one's table.
	if (skb->protocol == ethertype(version) && is_to_be_asked(way))
		return take_and_ask(way);
	return take_directly(skb, way, version);
}
