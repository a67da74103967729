package node

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// ids are the users or groups that the agent's user namespace has.
type ids []struct{ first, count int64 }

func readIDs(path string) (all ids, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		var first, outer, count int64
		if _, err := fmt.Sscan(line, &first, &outer, &count); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, struct{ first, count int64 }{first, count})
	}
	return all, nil
}

func (all ids) has(id int64) bool {
	for _, r := range all {
		if id >= r.first && id < r.first+r.count {
			return true
		}
	}
	return false
}

// credentials is who a container runs as. groups is nil where the user namespace
// has no say over groups.
type credentials struct {
	user, group int64
	groups      []int
}

// credentials reads runAsUser and its relatives. A user that the namespace does
// not have becomes its root, which is nobody special outside.
func (c *container) credentials() (credentials, error) {
	image, err := c.image()
	if err != nil {
		return credentials{}, err
	}
	who := credentials{user: image.User, group: image.User}
	nonRoot, groups := false, []int64{}
	if s := c.pod.object().Spec.SecurityContext; s != nil {
		set(&who.user, s.RunAsUser)
		set(&who.group, s.RunAsGroup)
		set(&nonRoot, s.RunAsNonRoot)
		groups = append(groups, s.SupplementalGroups...)
		if s.FSGroup != nil {
			groups = append(groups, *s.FSGroup)
		}
	}
	if s := c.spec.SecurityContext; s != nil {
		set(&who.user, s.RunAsUser)
		set(&who.group, s.RunAsGroup)
		set(&nonRoot, s.RunAsNonRoot)
	}
	if nonRoot && who.user == 0 {
		return who, errors.New("container has runAsNonRoot and image will run as root")
	}
	a := c.pod.agent
	if !a.users.has(who.user) {
		who.user = 0
	}
	if !a.groups.has(who.group) {
		who.group = 0
	}
	if a.groups.has(1) { // more than our own: setgroups is allowed
		who.groups = []int{}
		for _, g := range groups {
			if a.groups.has(g) {
				who.groups = append(who.groups, int(g))
			}
		}
	}
	return who, nil
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// defaultCapabilities are those that container runtimes leave to root.
var defaultCapabilities = []uintptr{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FSETID, unix.CAP_FOWNER, unix.CAP_MKNOD, unix.CAP_NET_RAW, unix.CAP_SETGID,
	unix.CAP_SETUID, unix.CAP_SETFCAP, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT, unix.CAP_KILL, unix.CAP_AUDIT_WRITE,
}

var capabilityNames = map[corev1.Capability]uintptr{
	"CHOWN": unix.CAP_CHOWN, "DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "FSETID": unix.CAP_FSETID, "FOWNER": unix.CAP_FOWNER, "MKNOD": unix.CAP_MKNOD,
	"NET_RAW": unix.CAP_NET_RAW, "SETGID": unix.CAP_SETGID, "SETUID": unix.CAP_SETUID, "SETFCAP": unix.CAP_SETFCAP, "SETPCAP": unix.CAP_SETPCAP,
	"NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE, "SYS_CHROOT": unix.CAP_SYS_CHROOT, "KILL": unix.CAP_KILL, "AUDIT_WRITE": unix.CAP_AUDIT_WRITE,
	"NET_ADMIN": unix.CAP_NET_ADMIN, "SYS_ADMIN": unix.CAP_SYS_ADMIN, "SYS_PTRACE": unix.CAP_SYS_PTRACE, "SYS_RESOURCE": unix.CAP_SYS_RESOURCE,
	"SYS_NICE": unix.CAP_SYS_NICE, "IPC_LOCK": unix.CAP_IPC_LOCK, "BPF": unix.CAP_BPF, "PERFMON": unix.CAP_PERFMON,
}

// capabilities drops and adds to a list.
func capabilities(from []uintptr, c *corev1.Capabilities) (kept []uintptr) {
	if c == nil {
		return from
	}
	has := map[uintptr]bool{}
	for _, n := range from {
		has[n] = true
	}
	change := func(names []corev1.Capability, to bool) {
		for _, name := range names {
			if name == "ALL" {
				for n := range uintptr(unix.CAP_LAST_CAP + 1) {
					has[n] = to
				}
			} else if n, ok := capabilityNames[name]; ok {
				has[n] = to
			}
		}
	}
	change(c.Drop, false)
	change(c.Add, true)
	for n := range uintptr(unix.CAP_LAST_CAP + 1) {
		if has[n] {
			kept = append(kept, n)
		}
	}
	return kept
}
