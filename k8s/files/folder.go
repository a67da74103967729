package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

// folder is what was read last.
type folder struct {
	dir   string
	root  string // dir without links, as it was walked
	files map[string]*fileState
}

type fileState struct {
	modified time.Time
	size     int64
	parsed
}

// refresh re-reads what changed and reports whether anything did. A file that
// cannot be read any more keeps its last objects. The error is for a folder
// that cannot be listed: then nothing changes.
func (f *folder) refresh() (changed bool, dirs []string, err error) {
	seen := map[string]bool{}
	root, err := filepath.EvalSymlinks(f.dir) // a link is not walked
	if err != nil {
		return false, nil, err
	}
	f.root = root
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			if path != root && errors.Is(err, fs.ErrNotExist) { // gone while we looked
				return nil
			}
			return err
		}
		hidden := strings.HasPrefix(entry.Name(), ".")
		if entry.IsDir() {
			if hidden && path != root {
				return fs.SkipDir
			}
			dirs = append(dirs, path)
			return nil
		}
		if hidden || !yamlName(entry.Name()) {
			return nil
		}
		info, err := os.Stat(path) // through the links of a mounted ConfigMap
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			return nil
		}
		if seen[path] = true; len(seen) > maxFiles {
			return fmt.Errorf("more than %d files in %s", maxFiles, f.dir)
		}
		if err != nil { // what it was before, it may still be
			if f.files[path] == nil {
				f.files[path] = &fileState{parsed: unknown(f.name(path), err)}
				changed = true
			}
			return nil
		}
		if old := f.files[path]; old == nil || !old.modified.Equal(info.ModTime()) || old.size != info.Size() {
			f.files[path] = f.read(path, info, old)
			changed = true
		}
		return nil
	})
	if err != nil {
		return false, nil, err
	}
	for path := range f.files {
		if !seen[path] {
			delete(f.files, path)
			changed = true
		}
	}
	return changed, dirs, nil
}

func yamlName(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// name is what a file is called in messages.
func (f *folder) name(path string) string {
	if name, err := filepath.Rel(f.root, path); err == nil {
		return name
	}
	return path
}

func (f *folder) read(path string, info fs.FileInfo, old *fileState) *fileState {
	s := &fileState{modified: info.ModTime(), size: info.Size()}
	name := f.name(path)
	var text []byte
	var err error
	if info.Size() <= maxFileBytes {
		text, err = os.ReadFile(path)
	} else {
		err = fmt.Errorf("%d bytes, at most %d: split the file", info.Size(), maxFileBytes)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist): // gone while we looked
	case err != nil:
		s.parsed = unknown(name, err)
	default:
		s.parsed = parse(name, text)
	}
	if s.bad && old != nil && len(old.items) > 0 {
		s.items, s.unread = old.items, old.unread
		s.problems = append(s.problems, translate.Problem{File: name, Reason: "Invalid", Message: "the file keeps its last objects until it is right", Warning: true})
	}
	if s.bad && old != nil && len(s.unread) == 0 {
		s.unread = old.unread
	}
	return s
}

// objects gathers everything; an object that is there twice keeps its first place.
func (f *folder) objects() (*translate.Objects, map[config.Object]string, []translate.Problem) {
	all := &translate.Objects{}
	where := map[config.Object]string{}
	var problems []translate.Problem
	paths := make([]string, 0, len(f.files))
	for path := range f.files {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		name := f.name(path)
		problems = append(problems, f.files[path].problems...)
		for _, it := range f.files[path].items {
			if first, twice := where[it.object]; twice {
				problems = append(problems, translate.Problem{Object: it.object, File: name, Reason: "Invalid", Message: fmt.Sprintf("the same object is in %s and in %s: the one in %s counts; remove one", first, name, first)})
				continue
			}
			where[it.object] = name
			add(all, it)
		}
		all.Unread = append(all.Unread, f.files[path].unread...)
	}
	return all, where, problems
}

func add(all *translate.Objects, it item) {
	switch o := it.value.(type) {
	case *gatewayv1.GatewayClass:
		all.GatewayClasses = append(all.GatewayClasses, o)
	case *gatewayv1.Gateway:
		all.Gateways = append(all.Gateways, o)
	case *gatewayv1.ListenerSet:
		all.ListenerSets = append(all.ListenerSets, o)
	case *gatewayv1.HTTPRoute:
		all.HTTPRoutes = append(all.HTTPRoutes, o)
	case *gatewayv1.GRPCRoute:
		all.GRPCRoutes = append(all.GRPCRoutes, o)
	case *gatewayv1.TCPRoute:
		all.TCPRoutes = append(all.TCPRoutes, o)
	case *gatewayv1.TLSRoute:
		all.TLSRoutes = append(all.TLSRoutes, o)
	case *gatewayv1.UDPRoute:
		all.UDPRoutes = append(all.UDPRoutes, o)
	case *gatewayv1beta1.ReferenceGrant:
		all.ReferenceGrants = append(all.ReferenceGrants, o)
	case *corev1.Service:
		all.Services = append(all.Services, o)
	case *corev1.Secret:
		all.Secrets = append(all.Secrets, o)
		if _, ok := o.Labels[api.LabelCredential]; ok {
			all.Credentials = append(all.Credentials, o)
		}
	case *corev1.ConfigMap:
		all.ConfigMaps = append(all.ConfigMaps, o)
	case *corev1.Namespace:
		all.Namespaces = append(all.Namespaces, o)
	case *discoveryv1.EndpointSlice:
		all.EndpointSlices = append(all.EndpointSlices, o)
	case *api.PluginPolicy:
		all.Policies = append(all.Policies, o)
	case *api.Plugin:
		all.Plugins = append(all.Plugins, o)
	case *api.PluginChain:
		all.Chains = append(all.Chains, o)
	case *api.ProxyParameters:
		all.Parameters = append(all.Parameters, o)
	case *api.CachePurge:
		all.CachePurges = append(all.CachePurges, o)
	case *api.Consumer:
		all.Consumers = append(all.Consumers, o)
	case *gatewayv1.BackendTLSPolicy:
		all.BackendTLS = append(all.BackendTLS, o)
	default:
		panic(fmt.Sprintf("BUG: kind %s has no list", it.object.Kind))
	}
}
