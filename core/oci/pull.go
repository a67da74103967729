package oci

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"penstock.dev/penstock/core/config"
)

// Dialer opens a connection to a registry. control is called with the address
// that is really dialled, before connect; its error ends the attempt.
type Dialer func(ctx context.Context, network, address string, control func(netip.Addr) error) (net.Conn, error)

func dial(ctx context.Context, network, address string, control func(netip.Addr) error) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return control(ap.Addr().Unmap())
	}}
	return d.DialContext(ctx, network, address)
}

func digestOf(s string) digest.Digest { return digest.Digest(s) }

// repository returns a client for r's repository that shows this credential,
// nil for none, to its registry alone.
func (s *Store) repository(r Reference, c *config.PullCredential) (*remote.Repository, error) {
	repo, err := remote.NewRepository(r.Name())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReference, err)
	}
	local := slices.Contains(s.o.LocalRegistries, r.Registry)
	repo.PlainHTTP = local
	own := repo.Reference.Host()
	repo.Client = &auth.Client{
		Client: s.client(r.Registry, local),
		Cache:  auth.NewCache(),
		Credential: func(_ context.Context, hostport string) (auth.Credential, error) {
			if hostport != own {
				return auth.EmptyCredential, nil
			}
			return authOf(c), nil
		},
	}
	repo.MaxMetadataBytes = MaxManifestBytes
	return repo, nil
}

// places are where an image may be asked for: the mirrors of its repository in
// their order, then its own registry.
func (s *Store) places(r Reference) []Reference {
	var all []Reference
	for _, m := range s.o.Mirrors {
		rest, ok := strings.CutPrefix(r.Name(), m.Of)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		at := r
		at.Registry, at.Repository, _ = strings.Cut(m.At+rest, "/")
		all = append(all, at)
	}
	return append(all, r)
}

// names are all the names that an image goes by.
func (s *Store) names(r Reference) []string {
	var all []string
	for _, at := range s.places(r) {
		all = append(all, at.Name())
	}
	return all
}

// try calls do for every place and credential that could do, until one works.
// The error is that of the image's own registry.
func (s *Store) try(req Request, r Reference, do func(*remote.Repository) error) error {
	var err error
	for _, at := range s.places(r) {
		if err = s.own(req, at, ErrUnavailable, do); err == nil {
			return nil
		}
	}
	return err
}

// own calls do with each credential for the registry of r itself, until one works. An error
// that is none of the others is other.
func (s *Store) own(req Request, r Reference, other error, do func(*remote.Repository) error) error {
	var err error
	for _, c := range attempts(req.Credentials, r) {
		var repo *remote.Repository
		if repo, err = s.repository(r, c); err != nil {
			return err
		}
		if err = do(repo); err == nil {
			return nil
		}
		if err = classify(err, other); !errors.Is(err, ErrForbidden) {
			return err // another password does not help
		}
	}
	return err
}

// nameIn is how a registry is asked for r: by digest if it has one.
func (r Reference) nameIn() string {
	if r.Digest != "" {
		return r.Digest
	}
	return r.Tag
}

// pull fetches from the registry, stores every part and returns the image. It
// records what the registry says about the namespace's right.
func (s *Store) pull(ctx context.Context, req Request, r Reference) (*Image, error) {
	var img *Image
	err := s.try(req, r, func(repo *remote.Repository) error {
		d, err := resolve(ctx, repo, r)
		if err != nil {
			return err
		}
		if img, err = s.pullManifest(ctx, repo, d, 0); err != nil {
			return err
		}
		img.Digest = d.Digest.String()
		return nil
	})
	switch {
	case errors.Is(err, ErrForbidden):
		return nil, errors.Join(err, s.record(req, false))
	case err != nil:
		return nil, err
	}
	if r.Tag != "" {
		if err := writeFile(s.tagFile(r), []byte(img.Digest)); err != nil {
			return nil, fmt.Errorf("image store: %w", err)
		}
	}
	return img, s.record(req, true)
}

// askTime bounds a question to a registry that moves no content.
const askTime = 15 * time.Second

func resolve(ctx context.Context, repo *remote.Repository, r Reference) (ocispec.Descriptor, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return repo.Resolve(ctx, r.nameIn())
}

// Resolve returns the digest that req's image has now, by asking the registry
// if it has a tag only; images of layout folders by what is there. Errors as Get.
func (s *Store) Resolve(ctx context.Context, req Request) (string, error) {
	r, err := ParseReference(req.Reference)
	if err != nil || r.Digest != "" {
		return r.Digest, err
	}
	for _, dir := range s.o.Layouts {
		if d, err := findInLayout(dir, r); err == nil {
			return d.Digest.String(), nil
		}
	}
	digest := ""
	err = s.try(req, r, func(repo *remote.Repository) error {
		d, err := resolve(ctx, repo, r)
		digest = d.Digest.String()
		return err
	})
	return digest, err
}

func (s *Store) pullManifest(ctx context.Context, repo *remote.Repository, d ocispec.Descriptor, depth int) (*Image, error) {
	raw, err := s.fetch(ctx, repo, d, MaxManifestBytes)
	if err != nil {
		return nil, err
	}
	switch {
	case isIndex(d.MediaType) && depth == 0:
		one, err := choose(raw)
		if err != nil {
			return nil, err
		}
		return s.pullManifest(ctx, repo, one, 1)
	case isManifest(d.MediaType):
		return unpack(raw, func(d ocispec.Descriptor, limit int64) ([]byte, error) { return s.fetch(ctx, repo, d, limit) })
	}
	return nil, fmt.Errorf("%w: media type %.80q", ErrImage, d.MediaType)
}

// fetch reads one blob, from the content store if it is there, and stores it.
func (s *Store) fetch(ctx context.Context, repo *remote.Repository, d ocispec.Descriptor, limit int64) ([]byte, error) {
	if data, err := s.blob(d, limit); err == nil || !errors.Is(err, os.ErrNotExist) {
		return data, err
	}
	if d.Size < 0 || d.Size > limit {
		return nil, fmt.Errorf("%w: content %s of %d bytes exceeds %d KiB", ErrImage, d.Digest, d.Size, limit>>10)
	}
	rc, err := repo.Fetch(ctx, d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	// One byte more than the descriptor says shows a blob that is too long.
	data, err := io.ReadAll(io.LimitReader(rc, d.Size+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != d.Size {
		return nil, fmt.Errorf("%w: content %s has not the %d bytes that its descriptor says", ErrDigest, d.Digest, d.Size)
	}
	if err := check(data, d, d.Size); err != nil {
		return nil, err
	}
	if err := s.keep(data); err != nil {
		return nil, err
	}
	return data, nil
}

// client returns an HTTP client that cannot be led into the machine or its
// network: the registry itself may be on a private address, where a bearer
// realm or a redirect points to may not; loopback and link-local only for
// registries that are listed as local, and so are the addresses that Forbid names.
// Checked on the dialled address.
func (s *Store) client(registry string, local bool) *http.Client {
	open := s.o.Dial
	if open == nil {
		open = dial
	}
	host := registry
	if h, _, err := net.SplitHostPort(registry); err == nil {
		host = h
	}
	transport := &http.Transport{
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		ForceAttemptHTTP2:     true,
		IdleConnTimeout:       time.Second,
		TLSClientConfig:       &tls.Config{RootCAs: s.o.CAs[registry]},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			to, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return open(ctx, network, address, func(a netip.Addr) error {
				isLocal := local && slices.Contains(s.o.LocalRegistries, address)
				if f := s.forbidden.Load(); f != nil && !isLocal && slices.Contains(f.Addresses, a.Unmap().WithZone("")) {
					return fmt.Errorf("%s is an address of the API server or of Penstock itself: no registry is there", a)
				}
				return admit(a, to == host, isLocal)
			})
		},
	}
	return &http.Client{Transport: transport}
}

// Forbid says where no registry is, from now on; nil: it may be anywhere. Any goroutine
// may call it.
func (s *Store) Forbid(f *config.Forbidden) { s.forbidden.Store(f) }

// admit says whether a registry client may connect to a.
func admit(a netip.Addr, isRegistry, isLocal bool) error {
	switch {
	case isLocal:
		return nil
	case a.IsLoopback(), a.IsLinkLocalUnicast(), a.IsLinkLocalMulticast(), a.IsMulticast(), a.IsUnspecified():
		return fmt.Errorf("%s is loopback or link-local: list the registry as local to allow it (--local-registry HOST:PORT)", a)
	case a.IsPrivate() && !isRegistry:
		return fmt.Errorf("%s is a private address that the registry pointed to", a)
	}
	return nil
}

// classify gives a registry's error its place; other is that of all the rest.
func classify(err, other error) error {
	for _, known := range []error{other, ErrForbidden, ErrDigest, ErrImage} {
		if errors.Is(err, known) {
			return err
		}
	}
	if errors.Is(err, auth.ErrBasicCredentialNotFound) {
		return fmt.Errorf("%w: the registry asks for a password: name a Secret of type kubernetes.io/dockerconfigjson in imagePullSecrets", ErrForbidden)
	}
	var response *errcode.ErrorResponse
	if errors.As(err, &response) && (response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden) {
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	if errors.Is(err, errdef.ErrNotFound) {
		return fmt.Errorf("%w: %w: %w", other, err, ErrMissing)
	}
	return fmt.Errorf("%w: %w", other, err)
}
