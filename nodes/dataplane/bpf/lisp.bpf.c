// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The data plane of a LISP router in the kernel (RFC 9300): tc programs at the ingress of its site ports and its core
// ports, and at the egress of its TUN and transit devices.
//
// A program takes what it can forward as a whole, and leaves everything else as it is: the kernel's stack then does its
// part (TTL, fragmentation, ICMP), routes the packet into the TUN device or gives it to the socket of port 4341, and the
// daemon decides. So a program may decline anything; it never has to know everything.
#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include "inbound.h"
#include "outbound.h"
#include "stranger.h"

// Whether a frame that came in is for this router, and an IP packet that `packet` then describes.
static __always_inline bool is_for_us(struct __sk_buff *skb, struct packet *packet)
{
	if (skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return false;
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return false;
	return gather(skb) && parse(skb, ETH_HLEN, skb->len - ETH_HLEN, packet) == PARSED &&
	       skb->protocol == ethertype(packet->version);
}

SEC("tc")
int lisp_site(struct __sk_buff *skb)
{
	struct settings *settings = current_settings();
	struct packet packet = {}; // kernels before 6.3 hand no memory to a function that nobody has written to
	int verdict = TC_ACT_UNSPEC;

	if (!settings || !settings->enabled)
		return TC_ACT_UNSPEC;
	if (is_for_us(skb, &packet))
		verdict = from_wire(skb, FROM_SITE, settings, &packet);
	if (verdict == TC_ACT_UNSPEC)
		notice(skb);
	return verdict;
}

SEC("tc")
int lisp_core(struct __sk_buff *skb)
{
	struct settings *settings = current_settings();
	struct arrived arrived = {};
	int verdict = NOT_OURS;

	if (!settings || !settings->enabled || !is_for_us(skb, &arrived.outer))
		return TC_ACT_UNSPEC;
	if (is_lisp_data(&arrived.outer))
		verdict = inbound(skb, settings, &arrived);
	if (verdict != NOT_OURS)
		return verdict;
	return from_wire(skb, FROM_CORE, settings, &arrived.outer);
}

SEC("tc")
int lisp_tun(struct __sk_buff *skb)
{
	struct settings *settings = current_settings();
	struct port *port = port_of(skb);
	int verdict = TC_ACT_UNSPEC;
	struct packet packet = {};

	if (!settings || !port)
		return TC_ACT_UNSPEC;
	if (settings->enabled && gather(skb) && parse(skb, 0, skb->len, &packet) == PARSED && measure(skb, 0, skb->len, &packet))
		verdict = outbound(skb, FROM_TUN, settings, port, &packet);
	if (verdict == TC_ACT_UNSPEC) {
		count(STAT_TO_STACK, 1);
		note_punted(port);
	}
	return verdict;
}

// Packets of an RTR that its programs left to the daemon: counted, all of them.
SEC("tc")
int lisp_transit(struct __sk_buff *skb)
{
	struct port *port = port_of(skb);

	count(STAT_TO_STACK, 1);
	if (port)
		note_punted(port);
	return TC_ACT_UNSPEC;
}

char licence[] SEC("license") = "Dual BSD/GPL";
