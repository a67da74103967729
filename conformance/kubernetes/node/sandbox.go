package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// sandbox is a Pod's network, UTS and IPC namespaces, held by open files, and its
// link and address.
type sandbox struct {
	net, uts, ipc *os.File
	addr          netip.Addr
	gateway       string
	link          string // the node's end
	cni           json.RawMessage
}

// network hands out the addresses of one node's Pods.
type network struct {
	gateway string

	mu   sync.Mutex
	pool netip.Prefix
	next netip.Addr
	used map[netip.Addr]bool
	seq  int
}

func newNetwork(prefix, gateway string) (*network, error) {
	pool, err := netip.ParsePrefix(prefix)
	if err != nil {
		return nil, err
	}
	return &network{gateway: gateway, pool: pool, next: pool.Addr().Next(), used: map[netip.Addr]bool{}}, nil
}

// take returns an address that was not in use for as long as possible.
func (n *network) take() (addr netip.Addr, link string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for range 256 {
		n.next = n.next.Next()
		if !n.pool.Contains(n.next) || n.next.As4()[3] == 255 {
			n.next = n.pool.Addr().Next().Next()
		}
		if !n.used[n.next] {
			n.used[n.next] = true
			n.seq++
			return n.next, fmt.Sprintf("pod%d", n.seq), nil
		}
	}
	return addr, "", errors.New("all Pod addresses of the node are in use")
}

func (n *network) give(addr netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.used, addr)
}

// newSandbox makes the namespaces, the link into them and its routes.
func (n *network) newSandbox(hostname string) (*sandbox, error) {
	addr, link, err := n.take()
	if err != nil {
		return nil, err
	}
	s := &sandbox{addr: addr, gateway: n.gateway, link: link}
	if err := s.open(hostname); err != nil {
		s.close()
		n.give(addr)
		return nil, err
	}
	return s, nil
}

func (s *sandbox) open(hostname string) error {
	made := make(chan error)
	go func() {
		// The thread ends with the goroutine: it is never unlocked.
		runtime.LockOSThread()
		made <- s.unshare(hostname)
	}()
	if err := <-made; err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = s.link
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(s.net.Fd())}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return fmt.Errorf("link up: %w", err)
	}
	// Without src the Pod would see the wrong address of clients on this node.
	route := &netlink.Route{LinkIndex: veth.Index, Dst: single(s.addr), Src: net.ParseIP(s.gateway), Scope: netlink.SCOPE_LINK}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("route: %w", err)
	}
	go func() {
		runtime.LockOSThread()
		made <- s.inside()
	}()
	return <-made
}

// unshare runs on a thread of its own.
func (s *sandbox) unshare(hostname string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	for name, file := range map[string]**os.File{"net": &s.net, "uts": &s.uts, "ipc": &s.ipc} {
		f, err := os.Open("/proc/thread-self/ns/" + name)
		if err != nil {
			return err
		}
		*file = f
	}
	// As container runtimes do, so that nobody needs a capability for port 80.
	return os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0)
}

// inside sets up the Pod's end, on a thread of its own.
func (s *sandbox) inside() error {
	if err := unix.Setns(int(s.net.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	return plug("eth0", s.addr, s.gateway)
}

// plug gives the link an address and sends everything to the router behind it.
func plug(name string, addr netip.Addr, router string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: single(addr)}); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	via := net.ParseIP(router)
	index := link.Attrs().Index
	if err := netlink.RouteReplace(&netlink.Route{LinkIndex: index, Dst: single(netip.MustParseAddr(router)), Scope: netlink.SCOPE_LINK}); err != nil {
		return fmt.Errorf("route to %s: %w", router, err)
	}
	_, all, _ := net.ParseCIDR("0.0.0.0/0")
	if err := netlink.RouteReplace(&netlink.Route{LinkIndex: index, Dst: all, Gw: via}); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	return nil
}

// close lets go of the namespaces; the kernel removes them, and the link, when
// the last process in them has ended.
func (s *sandbox) close() {
	if l, err := netlink.LinkByName(s.link); err == nil {
		_ = netlink.LinkDel(l)
	}
	for _, f := range []*os.File{s.net, s.uts, s.ipc} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// netPath names the network namespace for other processes.
func (s *sandbox) netPath() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.net.Fd()) }

func single(addr netip.Addr) *net.IPNet {
	return &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())}
}
