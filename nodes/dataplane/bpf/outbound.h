// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Into LISP headers: what decide_outbound in nodes/dataplane/decision.py would encapsulate. Everything else is the
// stack's, untouched.
#pragma once

#include "known_outbound.h"

enum arrival { FROM_SITE, FROM_CORE, FROM_TUN };

// Requirement S03: whether the source is an EID of this site, whose packets may be encapsulated now.
static __always_inline bool may_send(const struct port *port, struct local *entry)
{
	if (entry->flags & LOCAL_DYNAMIC && !(entry->flags & LOCAL_HOST)) // the daemon is told (stranger.h)
		return false;
	return entry->flags & LOCAL_EID && passes(&entry->open, entry->open_until, port->gate, NO_GATE);
}

// Who encapsulates: the ITR for its site's EIDs, the PITR for sources that have none (RFC 6832 section 5), or nobody (0).
static __always_inline __u32 role_for(enum arrival arrival, __u32 roles, const struct port *port,
				      const struct packet *packet, const struct eid_key *destination,
				      struct tunnel *tunnel)
{
	struct eid_key source = host_key(port->instance, packet->version, packet->source);
	struct local *entry = bpf_map_lookup_elem(&local, &source);

	if (arrival != FROM_CORE && roles & ROLE_ITR && entry) {
		tunnel->tells = entry->tells;
		tunnel->status_bits = entry->status_bits;
		return may_send(port, entry) ? ROLE_ITR : 0;
	}
	if (arrival == FROM_SITE || !(roles & ROLE_PITR) || port->instance)
		return 0;
	if (arrival == FROM_CORE && entry) // forged: the site's hosts are not behind the core
		return 0;
	return is_aggregate(destination, AGGREGATE_EID) ? ROLE_PITR : 0;
}

static __always_inline bool is_for(__u32 role, const struct mapping *mapping)
{
	// RFC 6832 section 6: what is no EID goes to a PETR. A PITR would get it back from there.
	return mapping->action == ACTION_ENCAPSULATE || (mapping->action == ACTION_PETR && role == ROLE_ITR);
}

// The packet at `at` into its tunnel, with this TTL.
__noinline int encapsulate(struct __sk_buff *skb, __u32 at, const struct packet *packet, const struct tunnel *tunnel,
			   __u8 ttl)
{
	__u32 room;

	if (!packet || !tunnel)
		return TC_ACT_UNSPEC;
	room = overhead_over(tunnel->version);
	if (trim(skb, at + packet->length))
		return TC_ACT_UNSPEC;
	if (grow(skb, room, tunnel->version, packet->version))
		goto refused;
	if (ttl != packet->ttl && rewrite(skb, at + room, packet, packet->tos, ttl))
		goto refused;
	if (!at && bpf_skb_change_head(skb, ETH_HLEN, 0))
		goto refused;
	if (write_outer(skb, packet, tunnel, packet->tos, ttl))
		goto refused;
	return take(skb, tunnel->found, &tunnel->way, tunnel->version);
refused:
	count(STAT_DROP_KERNEL, 1);
	return TC_ACT_SHOT;
}

__noinline int outbound(struct __sk_buff *skb, enum arrival arrival, const struct settings *settings,
			const struct port *port, const struct packet *packet)
{
	__u32 at = arrival == FROM_TUN ? 0 : ETH_HLEN, generation, *route, role;
	struct eid_key destination;
	struct mapping *mapping;
	struct tunnel *tunnel;
	int verdict;
	__u8 ttl;

	if (!settings || !port || !packet || !is_unicast(packet))
		return TC_ACT_UNSPEC;
	generation = settings->generation;
	ttl = packet->ttl - (arrival == FROM_TUN ? 0 : 1); // the kernel did it on the way into the device
	tunnel = new_tunnel(port->instance);
	if (!tunnel)
		return TC_ACT_UNSPEC;
	if (arrival != FROM_TUN && (packet->ttl <= 1 || !is_alive(skb, port->device)))
		return TC_ACT_UNSPEC;
	destination = host_key(port->instance, packet->version, packet->destination);
	// Requirement S02: only a default, a missing or a Null0 route makes a candidate.
	route = bpf_map_lookup_elem(&native, &destination);
	if (route && *route != NATIVE_NULL0)
		return TC_ACT_UNSPEC;
	role = role_for(arrival, settings->roles, port, packet, &destination, tunnel);
	if (!role)
		return TC_ACT_UNSPEC;
	// Requirement S04: the map-cache decides.
	mapping = bpf_map_lookup_elem(&map_cache, &destination);
	if (!mapping || !is_for(role, mapping) || !is_open(mapping, port))
		return TC_ACT_UNSPEC;
	if (!plan(skb, packet, mapping, tunnel))
		return TC_ACT_UNSPEC;
	verdict = encapsulate(skb, at, packet, tunnel, ttl);
	if (!is_passed(verdict))
		return verdict;
	account(packet, mapping, tunnel, bpf_ktime_get_ns());
	if (arrival != FROM_TUN)
		know_outwards(skb, packet, mapping, tunnel, generation);
	return verdict;
}

// What came by a wire: the way of its flow, if that is known; else it is decided.
static __always_inline int from_wire(struct __sk_buff *skb, enum arrival arrival, const struct settings *settings,
				     struct packet *packet)
{
	struct port *port;
	int verdict;

	if (!measure(skb, ETH_HLEN, skb->len - ETH_HLEN, packet))
		return TC_ACT_UNSPEC;
	verdict = go_outwards(skb, packet, settings->generation);
	if (verdict != TC_ACT_UNSPEC)
		return verdict;
	port = port_of(skb);
	return port ? outbound(skb, arrival, settings, port, packet) : TC_ACT_UNSPEC;
}
