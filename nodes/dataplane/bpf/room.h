// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Room in front of a packet for outer headers, made and taken away. The kernel has to know what the room is for, or it
// could not cut a super-packet later (bpf_skb_adjust_room in bpf-helpers(7)).
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "packet.h"

#define EALREADY 114

// Since Linux 6.3; the headers of Debian 12 are older.
#define DECAP_L3_IPV4 (1ULL << 7)
#define DECAP_L3_IPV6 (1ULL << 8)

static __always_inline __u64 as_outer(__u8 version)
{
	return version == 4 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV6;
}

static __always_inline __u64 as_inner(__u8 version)
{
	return version == 4 ? DECAP_L3_IPV4 : DECAP_L3_IPV6;
}

// Take the room away; `inside` is then the frame's IP version. A kernel before 6.3 goes on believing in the version that
// it was: no harm where the frame goes straight out by an interface, which is when `insist` is false.
static __always_inline long shrink(struct __sk_buff *skb, __u32 room, __u8 outside, __u8 inside, bool insist)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;
	long refused;

	if (outside != inside)
		flags |= as_inner(inside);
	refused = bpf_skb_adjust_room(skb, -(__s32)room, BPF_ADJ_ROOM_MAC, flags);
	if (refused == -EINVAL && outside != inside && !insist)
		refused = bpf_skb_adjust_room(skb, -(__s32)room, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
	return refused;
}

// Make room for an outer header of this version around a packet of that one.
static __always_inline long grow(struct __sk_buff *skb, __u32 room, __u8 outside, __u8 inside)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | as_outer(outside);
	long refused = bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, flags);
	const __u32 more = 4;

	if (refused != -EALREADY)
		return refused;
	// It was inside a header before, and veth keeps what the kernel noted then. Those notes are still right, but for the
	// frame's IP version: that changes only when room is taken away.
	if (outside == inside)
		return bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
	refused = bpf_skb_adjust_room(skb, room + more, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
	return refused ?: shrink(skb, more, inside, outside, false);
}
