package connect

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"penstock.dev/penstock/conformance/harness"
)

// What tells this program that the suite started it: the path of its reference
// server, and what the proxy speaks to that.
const (
	referenceServer = "CONNECT_REFERENCE_SERVER"
	spoken          = "CONNECT_UPSTREAM"
)

// TestMain runs TestServer alone if the suite started this program.
func TestMain(m *testing.M) {
	if os.Getenv(referenceServer) != "" {
		if err := flag.Set("test.run", "^TestServer$"); err != nil {
			panic(err)
		}
		answers, os.Stdout = os.Stdout, os.Stderr // what the testing package writes is no answer
	}
	os.Exit(m.Run())
}

var answers *os.File

// TestServer is the server under test, where the suite runs it; elsewhere it has
// nothing to do.
func TestServer(t *testing.T) {
	if answers != nil {
		serve(t, os.Stdin, answers)
	}
}

// settings is what is used of ServerCompatRequest, by the numbers of its fields.
type settings struct {
	protocol, version uint64 // 1, 2
	tls               bool   // 4
	clientCertificate []byte // 5
	limit             uint64 // 6
	certificate, key  []byte // 7.1, 7.2
}

func parse(b []byte) (s settings, err error) {
	err = fields(b, func(n protowire.Number, number uint64, text []byte) error {
		switch n {
		case 1:
			s.protocol = number
		case 2:
			s.version = number
		case 4:
			s.tls = number != 0
		case 5:
			s.clientCertificate = text
		case 6:
			s.limit = number
		case 7:
			return fields(text, func(n protowire.Number, _ uint64, text []byte) error {
				switch n {
				case 1:
					s.certificate = text
				case 2:
					s.key = text
				}
				return nil
			})
		}
		return nil
	})
	return s, err
}

// fields calls f with each field of a message that is a number or bytes.
func fields(b []byte, f func(n protowire.Number, number uint64, text []byte) error) error {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		var number uint64
		var text []byte
		switch kind {
		case protowire.VarintType:
			number, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			text, size = protowire.ConsumeBytes(b)
		default:
			size = protowire.ConsumeFieldValue(n, kind, b)
		}
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		if err := f(n, number, text); err != nil {
			return err
		}
	}
	return nil
}

// readMessage reads a message with its size before it.
func readMessage(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > 1<<20 {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

func writeMessage(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

// serve is the server under test: the suite's own, behind the proxy.
func serve(t *testing.T, in io.Reader, out io.Writer) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	b, err := readMessage(in)
	if err != nil {
		t.Fatal(err)
	}
	s, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	p := harness.Start(t, harness.Options{Files: files(s, behind(t, s))})
	if s.version == 3 {
		p.Eventually("the UDP port is bound", func() bool { return strings.Contains(p.Log(), "listening for HTTP/3") })
	}
	answer := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "127.0.0.1")
	answer = protowire.AppendVarint(protowire.AppendTag(answer, 2, protowire.VarintType), uint64(p.Port))
	if s.tls {
		answer = protowire.AppendBytes(protowire.AppendTag(answer, 3, protowire.BytesType), s.certificate)
	}
	if err := writeMessage(out, answer); err != nil {
		t.Fatal(err)
	}
	<-stop
	if f, err := os.CreateTemp("/tmp/f-logs", "x"); err == nil {
		f.WriteString(p.Log())
	}
}

// behind starts the suite's server in plain text, and returns its port.
func behind(t *testing.T, s settings) int {
	t.Helper()
	version := uint64(1)
	if os.Getenv(spoken) == "h2c" {
		version = 2
	}
	var ask []byte
	for n, v := range []uint64{1: s.protocol, 2: version, 6: s.limit} {
		if v != 0 {
			ask = protowire.AppendVarint(protowire.AppendTag(ask, protowire.Number(n), protowire.VarintType), v)
		}
	}
	port := harness.FreePort(t)
	c := exec.Command(os.Getenv(referenceServer), "-bind", "127.0.0.1", "-port", fmt.Sprint(port))
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	if err := writeMessage(in, ask); err != nil {
		t.Fatal(err)
	}
	if _, err := readMessage(out); err != nil {
		t.Fatal(err)
	}
	nc, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	return port
}

// files is a proxy before that port, as the settings want it.
func files(s settings, port int) map[string]string {
	service := strings.Replace(harness.Service("a", "", port), "value: /a", "value: /", 1)
	if os.Getenv(spoken) == "h2c" {
		service = strings.Replace(service, "{name: http, port: 80,", "{name: http, appProtocol: kubernetes.io/h2c, port: 80,", 1)
	}
	all := map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": service}
	if s.tls {
		all["gateway.yaml"] = harness.SecureGateway(1)
		all["secret.yaml"] = harness.SecretOf("edge", s.certificate, s.key)
		if len(s.clientCertificate) > 0 {
			all["gateway.yaml"] = strings.Replace(all["gateway.yaml"], "  gatewayClassName: penstock\n",
				"  gatewayClassName: penstock\n  tls: {frontend: {default: {validation: {caCertificateRefs: [{group: \"\", kind: ConfigMap, name: people}]}}}}\n", 1)
			all["people.yaml"] = harness.ConfigMap("people", map[string]string{"ca.crt": string(s.clientCertificate)})
		}
	}
	return all
}
