// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The data plane of a LISP router in the kernel (RFC 9300): tc programs at its site ports, its core ports and its TUN
// devices. So far they leave everything to the stack, and by it to the daemon.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include "tables.h"

SEC("tc")
int lisp_site(struct __sk_buff *skb __attribute__((unused)))
{
	return TC_ACT_UNSPEC;
}

SEC("tc")
int lisp_core(struct __sk_buff *skb __attribute__((unused)))
{
	return TC_ACT_UNSPEC;
}

SEC("tc")
int lisp_tun(struct __sk_buff *skb __attribute__((unused)))
{
	return TC_ACT_UNSPEC;
}

char licence[] SEC("license") = "Dual BSD/GPL";
