package registry

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"

	"penstock.dev/penstock/conformance/harness"
)

// signer signs images as cosign does with a key pair.
type signer struct {
	t   *testing.T
	r   *registry
	key *ecdsa.PrivateKey
}

func newSigner(t *testing.T, r *registry) *signer {
	t.Helper()
	return &signer{t, r, harness.NewKey(t)}
}

func (s *signer) public() string {
	der, err := x509.MarshalPKIXPublicKey(&s.key.PublicKey)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func (s *signer) sign(b []byte) []byte {
	sum := sha256.Sum256(b)
	sig, err := ecdsa.SignASN1(rand.Reader, s.key, sum[:])
	if err != nil {
		s.t.Fatal(err)
	}
	return sig
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

type object = map[string]any

// simple pushes a simple signing signature of digest, for the image name that
// it claims, under the tag that belongs to the digest at.
func (s *signer) simple(repository, claims, digest, at string) {
	s.t.Helper()
	payload := encode(object{"critical": object{
		"identity": object{"docker-reference": claims},
		"image":    object{"docker-manifest-digest": digest},
		"type":     "cosign container image signature",
	}, "optional": nil})
	layer := ocispec.Descriptor{
		MediaType:   "application/vnd.dev.cosign.simplesigning.v1+json",
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(s.sign(payload))},
	}
	s.push(repository, layer, payload, nil, strings.Replace(at, ":", "-", 1)+".sig")
}

// bundle pushes a Sigstore bundle v0.3 that signs digest and refers to subject.
func (s *signer) bundle(repository, digest string, subject ocispec.Descriptor) {
	s.t.Helper()
	const kind = "application/vnd.in-toto+json"
	statement := encode(object{
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       []object{{"digest": object{"sha256": strings.TrimPrefix(digest, "sha256:")}}},
		"predicateType": "https://sigstore.dev/cosign/sign/v1",
		"predicate":     object{},
	})
	pae := fmt.Sprintf("DSSEv1 %d %s %d %s", len(kind), kind, len(statement), statement)
	text := encode(object{
		"mediaType":            "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": object{"publicKey": object{"hint": ""}},
		"dsseEnvelope":         object{"payload": statement, "payloadType": kind, "signatures": []object{{"sig": s.sign([]byte(pae))}}},
	})
	s.push(repository, ocispec.Descriptor{MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json"}, text, &subject, "")
}

// push pushes a manifest with one layer, as a tag or as a referrer of subject.
func (s *signer) push(repository string, layer ocispec.Descriptor, content []byte, subject *ocispec.Descriptor, tag string) {
	s.t.Helper()
	ctx := context.Background()
	repo := s.r.repository(repository)
	layer.Digest, layer.Size = digest.FromBytes(content), int64(len(content))
	if err := repo.Push(ctx, layer, strings.NewReader(string(content))); err != nil {
		s.t.Fatal(err)
	}
	options := oras.PackManifestOptions{Subject: subject, Layers: []ocispec.Descriptor{layer}}
	artifact := "application/vnd.dev.cosign.artifact.sig.v1+json"
	if subject != nil {
		artifact = layer.MediaType
	}
	d, err := oras.PackManifest(ctx, repo, oras.PackManifestVersion1_1, artifact, options)
	if err != nil {
		s.t.Fatal(err)
	}
	if tag != "" {
		if err := repo.Tag(ctx, d, tag); err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	ours, theirs := newSigner(t, r), newSigner(t, r)
	upstream := harness.Upstream(t, harness.Echo)
	policy := strings.Replace(harness.GatewayFor(r.port), fmt.Sprintf(`    - {prefix: "127.0.0.1:%d/plugins", unsigned: true, allowTags: true}`+"\n", r.port), "", 1)
	files := map[string]string{}
	files["gateway.yaml"] = strings.Replace(policy, "  capabilities:", fmt.Sprintf("    - {prefix: %s/signed, allowTags: true, signedBy: [{publicKey: %q}]}\n  capabilities:", r.host(), ours.public()), 1)

	names := []string{"unsigned", "wrong", "replayed", "moved", "simple", "bundle", "both", "denied"}
	digests := map[string]string{}
	for _, name := range names {
		// Each image has content of its own, so that each has a digest of its own.
		layout := t.TempDir()
		manifest := filepath.Join(t.TempDir(), "plugin.json")
		if err := os.WriteFile(manifest, encode(object{"abi": "proxy-wasm", "title": name}), 0o600); err != nil {
			t.Fatal(err)
		}
		harness.Pack(t, layout, name, harness.BundledModule(t, "transform"), "--manifest", manifest)
		digests[name] = r.push(layout, "test.example/plugins/"+name+":1", "signed/"+name, "1")
		files[name+".yaml"] = harness.Service(name, annotation(r.host()+"/signed/"+name+":1"), upstream)
	}
	image := func(name string) string { return r.host() + "/signed/" + name }
	resolve := func(name string) ocispec.Descriptor {
		d, err := r.repository("signed/"+name).Resolve(context.Background(), "1")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	theirs.simple("signed/wrong", image("wrong"), digests["wrong"], digests["wrong"])
	theirs.bundle("signed/wrong", digests["wrong"], resolve("wrong"))
	// A good signature of an older image, hung on another one.
	ours.simple("signed/replayed", image("replayed"), digests["simple"], digests["replayed"])
	ours.bundle("signed/replayed", digests["simple"], resolve("replayed"))
	// A good signature of the very image, made for another repository.
	ours.simple("signed/moved", image("elsewhere"), digests["moved"], digests["moved"])
	ours.simple("signed/simple", image("simple"), digests["simple"], digests["simple"])
	ours.bundle("signed/bundle", digests["bundle"], resolve("bundle"))
	theirs.simple("signed/both", image("both"), digests["both"], digests["both"])
	ours.bundle("signed/both", digests["both"], resolve("both"))
	ours.simple("signed/denied", image("denied"), digests["denied"], digests["denied"])
	files["gateway.yaml"] = strings.Replace(files["gateway.yaml"], "  capabilities:", fmt.Sprintf("  deniedDigests: [%q]\n  capabilities:", digests["denied"]), 1)

	home := t.TempDir()
	p := harness.Start(t, harness.Options{Files: files, State: home, LocalRegistry: r.host()})
	for _, name := range []string{"simple", "bundle", "both"} {
		state(t, p, name, 200, "")
	}
	for _, name := range []string{"unsigned", "wrong", "replayed", "moved"} {
		state(t, p, name, 503, "SignatureInvalid")
	}
	state(t, p, "denied", 503, "RefusedByPolicy")
	p.Stop()

	// What was verified starts again without the registry; nothing else does.
	r.stop()
	again := harness.Start(t, harness.Options{Files: files, State: home, LocalRegistry: r.host()})
	for _, name := range []string{"simple", "bundle", "both"} {
		state(t, again, name, 200, "")
	}
	for _, name := range []string{"unsigned", "wrong", "replayed", "moved"} {
		if c := again.Chain("Service/default/" + name); c.State == "Running" {
			t.Errorf("%s runs after a restart", name)
		}
	}
}
