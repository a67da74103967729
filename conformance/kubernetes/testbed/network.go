package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// nodeAddress returns the address of node i, and podNetwork where its Pods are.
func nodeAddress(i int) string { return fmt.Sprintf("172.20.1.%d", i) }
func podNetwork(i int) string  { return fmt.Sprintf("10.244.%d.0/24", i) }

func addControlAddress() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.AddrReplace(lo, &netlink.Addr{IPNet: hostNet(ControlAddress)})
}

// connect joins the network namespace of process pid to this one: a pair of
// links, and routes to the node and its Pods.
func connect(i, pid int) error {
	name := fmt.Sprintf("node%d", i)
	if old, err := netlink.LinkByName(name); err == nil { // of a node that was restarted
		_ = netlink.LinkDel(old)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	link := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("link to node %d: %w", i, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	source := net.ParseIP(ControlAddress)
	if err := netlink.RouteReplace(&netlink.Route{LinkIndex: link.Index, Dst: hostNet(nodeAddress(i)), Src: source, Scope: netlink.SCOPE_LINK}); err != nil {
		return fmt.Errorf("route to node %d: %w", i, err)
	}
	_, pods, err := net.ParseCIDR(podNetwork(i))
	if err != nil {
		return err
	}
	gateway := net.ParseIP(nodeAddress(i))
	if err := netlink.RouteReplace(&netlink.Route{LinkIndex: link.Index, Dst: pods, Src: source, Gw: gateway, Flags: int(netlink.FLAG_ONLINK)}); err != nil {
		return err
	}
	all := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	if err := netlink.RouteReplace(&netlink.Route{LinkIndex: link.Index, Dst: all, Src: source, Gw: gateway, Flags: int(netlink.FLAG_ONLINK), Table: int(nodeMark(i))}); err != nil {
		return fmt.Errorf("table of node %d: %w", i, err)
	}
	rule := netlink.NewRule()
	rule.Mark, rule.Table, rule.Family = nodeMark(i), int(nodeMark(i)), netlink.FAMILY_V4
	if err := netlink.RuleAdd(rule); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("rule for node %d: %w", i, err)
	}
	return nil
}

// nodeMark is the mark of packets, and connections, that go by node i, and the number
// of the routing table that leads there.
func nodeMark(i int) uint32 { return 1000 + uint32(i) }

// pin has connections stay on the node that they begin on, one of those that lead to an
// address then, whatever becomes of the routes: a load balancer keeps its flows.
func pin(via map[string][]netip.Addr) error {
	var s strings.Builder
	s.WriteString("add table ip balancer\nadd chain ip balancer output { type route hook output priority mangle; }\nflush chain ip balancer output\n")
	s.WriteString("add rule ip balancer output ct mark != 0 meta mark set ct mark accept\n")
	for _, to := range slices.Sorted(maps.Keys(via)) {
		var marks []string
		for i, node := range via[to] {
			marks = append(marks, fmt.Sprintf("%d : %d", i, nodeMark(int(node.As4()[3]))))
		}
		if len(marks) > 0 {
			fmt.Fprintf(&s, "add rule ip balancer output ip daddr %s ct state new ct mark set numgen random mod %d map { %s } meta mark set ct mark accept\n", to, len(marks), strings.Join(marks, ", "))
		}
	}
	nft := exec.Command("nft", "-f", "-")
	nft.Stdin = strings.NewReader(s.String())
	if text, err := nft.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, text)
	}
	return nil
}

// routeVia sends packets for to to one of the nodes that have these addresses,
// and drops the route if there are none.
func routeVia(to *net.IPNet, nodes []netip.Addr) error {
	route := &netlink.Route{Dst: to, Src: net.ParseIP(ControlAddress)}
	for _, addr := range nodes {
		found, err := netlink.RouteGet(addr.AsSlice())
		if err != nil || len(found) == 0 {
			continue // the node is gone
		}
		route.MultiPath = append(route.MultiPath, &netlink.NexthopInfo{LinkIndex: found[0].LinkIndex, Gw: addr.AsSlice(), Flags: int(netlink.FLAG_ONLINK)})
	}
	if len(route.MultiPath) == 0 {
		if err := netlink.RouteDel(&netlink.Route{Dst: to}); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("drop route to %v: %w", to, err)
		}
		return nil
	}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("route to %v: %w", to, err)
	}
	return nil
}

func hostNet(ip string) *net.IPNet {
	return &net.IPNet{IP: net.ParseIP(ip).To4(), Mask: net.CIDRMask(32, 32)}
}

// forward accepts until ctx is done and copies each connection to and from addr.
func forward(ctx context.Context, l net.Listener, addr string) error {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var running sync.WaitGroup
	defer running.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		running.Go(func() { pipe(ctx, c, addr) })
	}
}

func pipe(ctx context.Context, c net.Conn, addr string) {
	defer c.Close()
	var d net.Dialer
	up, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return
	}
	defer up.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close(); _ = up.Close() })()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(up, c)
		_ = up.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(c, up)
	_ = c.Close()
	<-done
}
