// Command whoami stands for the CoreDNS image of the Gateway API suite's UDP
// tests, which only use its plugin of that name: every query is answered with the
// address and port that it came from.
package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/miekg/dns"
)

func main() {
	failed := make(chan error)
	for _, network := range []string{"udp", "tcp"} {
		go func() {
			failed <- (&dns.Server{Addr: ":53", Net: network, Handler: dns.HandlerFunc(answer)}).ListenAndServe()
		}()
	}
	fmt.Fprintln(os.Stderr, <-failed)
	os.Exit(1)
}

func answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	client, err := netip.ParseAddrPort(w.RemoteAddr().String())
	if err == nil && len(q.Question) == 1 {
		name := q.Question[0].Name
		addr := client.Addr().Unmap()
		if addr.Is4() {
			m.Extra = append(m.Extra, &dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: addr.AsSlice()})
		} else {
			m.Extra = append(m.Extra, &dns.AAAA{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeAAAA, Class: dns.ClassINET}, AAAA: net.IP(addr.AsSlice())})
		}
		m.Extra = append(m.Extra, &dns.SRV{Hdr: dns.RR_Header{Name: "_" + w.RemoteAddr().Network() + "." + name, Rrtype: dns.TypeSRV, Class: dns.ClassINET}, Port: client.Port(), Target: "."})
	}
	_ = w.WriteMsg(m)
}
