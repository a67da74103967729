package testbed

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// bed is the one cluster of all tests; each has a namespace of its own.
var bed *Testbed

func TestMain(m *testing.M) {
	Enter()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	root, err := Root()
	if err == nil {
		bed, err = start(root)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer bed.Stop()
	return m.Run()
}

func start(root string) (*Testbed, error) {
	images, err := Images(root)
	if err != nil {
		return nil, err
	}
	return Start(context.Background(), Options{Images: images, Backoff: time.Second, Log: func(format string, args ...any) {
		fmt.Printf(format+"\n", args...)
	}})
}

// space is a namespace of one test.
type space struct {
	*testing.T
	name string
}

func newSpace(t *testing.T) *space {
	t.Parallel()
	return newSpaceAlone(t)
}

// newSpaceAlone is newSpace of a test that runs while no other does.
func newSpaceAlone(t *testing.T) *space {
	n, err := bed.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := &space{t, n.Name}
	t.Cleanup(func() {
		if t.Failed() {
			s.explain()
		}
		_ = bed.Client.CoreV1().Namespaces().Delete(context.Background(), n.Name, metav1.DeleteOptions{})
	})
	s.eventually("an account for Pods", func() error {
		_, err := bed.Client.CoreV1().ServiceAccounts(n.Name).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	return s
}

// explain logs what the cluster says of the namespace.
func (s *space) explain() {
	for _, n := range bed.Nodes {
		text, err := os.ReadFile(n.log())
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		s.Logf("%s: %v, %v, log\n%s", n.Name, n.ended(), err, strings.Join(lines[max(0, len(lines)-5):], "\n"))
	}
	events, err := bed.Client.CoreV1().Events(s.name).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		s.Log(err)
		return
	}
	for _, e := range events.Items {
		s.Logf("%s %s/%s: %s: %s", e.LastTimestamp.Format("15:04:05"), e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
	}
}

func (s *space) apply(text string) {
	s.Helper()
	if err := bed.ApplyText(s.Context(), strings.ReplaceAll(text, "NAMESPACE", s.name)); err != nil {
		s.Fatal(err)
	}
}

// eventually asks until there is no error, for 20 s.
func (s *space) eventually(what string, ask func() error) {
	s.Helper()
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = ask(); err == nil {
			return
		}
	}
	s.Fatalf("%s: %v", what, err)
}

func (s *space) pod(name string) *corev1.Pod {
	s.Helper()
	p, err := bed.Client.CoreV1().Pods(s.name).Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return p
}

func (s *space) pods(selector string) []corev1.Pod {
	s.Helper()
	l, err := bed.Client.CoreV1().Pods(s.name).List(s.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		s.Fatal(err)
	}
	return l.Items
}

// ready waits until the Pod is ready, and returns it.
func (s *space) ready(name string) (p *corev1.Pod) {
	s.Helper()
	s.eventually(name+" is ready", func() error {
		p = s.pod(name)
		if !condition(p, corev1.PodReady) {
			return fmt.Errorf("%+v", p.Status)
		}
		return nil
	})
	return p
}

func condition(p *corev1.Pod, t corev1.PodConditionType) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == t {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

var client = &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func get(url string) (string, error) {
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return string(body), err
}

// exec runs a command in a Pod's first container and returns both its outputs.
func (s *space) exec(pod, stdin string, command ...string) (string, error) {
	s.Helper()
	r := bed.Client.CoreV1().RESTClient().Post().Namespace(s.name).Resource("pods").Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdin: stdin != "", Stdout: true, Stderr: true}, scheme.ParameterCodec)
	e, err := remotecommand.NewSPDYExecutor(bed.Config, http.MethodPost, r.URL())
	if err != nil {
		return "", err
	}
	var out, errs bytes.Buffer
	options := remotecommand.StreamOptions{Stdout: &out, Stderr: &errs}
	if stdin != "" {
		options.Stdin = strings.NewReader(stdin)
	}
	err = e.StreamWithContext(s.Context(), options)
	return out.String() + errs.String(), err
}
