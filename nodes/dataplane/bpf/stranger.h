// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Requirement X01: who sends anything at a site port, to whomever, shows that it is there. The daemon asks for it.
#pragma once

#include "account.h"

#define NEIGHBOUR_SOLICITATION 135
#define NEIGHBOUR_ADVERTISEMENT 136

// Neighbour discovery the daemon overhears itself, as it does ARP.
static __always_inline bool is_neighbour_discovery(struct __sk_buff *skb)
{
	__u8 protocol = 0, type = 0;

	if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, nexthdr), &protocol, sizeof(protocol)) ||
	    protocol != IPPROTO_ICMPV6 ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(struct ipv6hdr), &type, sizeof(type)))
		return false;
	return type == NEIGHBOUR_SOLICITATION || type == NEIGHBOUR_ADVERTISEMENT;
}

// Tell of the source of a frame that no program takes, if its host is not known to be here. The packet may be whatever it
// is: for this router, for a group, for everybody, odd or out of hops.
__noinline int notice(struct __sk_buff *skb)
{
	struct event event = {.kind = EVENT_SOURCE, .interface = skb->ifindex};
	struct port *port = port_of(skb);
	__be32 source[4] = {};
	struct eid_key key;
	struct local *entry;
	__u8 version;

	if (!port || skb->vlan_present)
		return 0;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		version = 4;
		if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct iphdr, saddr), source, sizeof(struct in_addr)))
			return 0;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		version = 6;
		if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, saddr), source, sizeof(source)) ||
		    is_neighbour_discovery(skb))
			return 0;
	} else {
		return 0;
	}
	key = host_key(port->instance, version, source);
	entry = bpf_map_lookup_elem(&local, &key);
	if (!entry || !(entry->flags & LOCAL_DYNAMIC) || entry->flags & LOCAL_HOST)
		return 0;
	event.about.scope = key.scope;
	__builtin_memcpy(event.about.eid, key.address, sizeof(event.about.eid));
	bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_source), event.mac, sizeof(event.mac));
	return tell(&event);
}
