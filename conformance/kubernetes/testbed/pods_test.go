package testbed

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilexec "k8s.io/client-go/util/exec"
)

// runPod applies a Pod called pod with this spec and waits until it is ready.
func (s *space) runPod(spec string) *corev1.Pod {
	s.Helper()
	s.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: pod, namespace: NAMESPACE, labels: {app: pod}}\nspec:\n" + spec)
	return s.ready("pod")
}

func (s *space) file(pod, path string) (string, error) {
	return s.exec(pod, "", "tool", "cat", path)
}

const tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount/token"

func TestTokenIsMounted(t *testing.T) {
	s := newSpace(t)
	s.runPod("  containers: [{name: c, image: testbed}]")
	token, err := s.file("pod", tokenPath)
	if err != nil || strings.Count(token, ".") != 2 {
		t.Errorf("token %q, %v; want a JWT", token, err)
	}
	for _, name := range []string{"ca.crt", "namespace"} {
		if text, err := s.file("pod", "/var/run/secrets/kubernetes.io/serviceaccount/"+name); err != nil || text == "" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if out, err := s.exec("pod", "", "tool", "write", tokenPath, "x"); err == nil {
		t.Errorf("token can be written to: %s", out)
	}
}

func TestTokenIsNotMounted(t *testing.T) {
	s := newSpace(t)
	s.runPod("  automountServiceAccountToken: false\n  containers: [{name: c, image: testbed}]")
	if text, err := s.file("pod", tokenPath); err == nil {
		t.Errorf("token %q; want none", text)
	}
	if out, err := s.exec("pod", "", "tool", "cat", "/var/run/secrets"); err == nil || !strings.Contains(out, "no such file") {
		t.Errorf("/var/run/secrets: %q, %v; want no such file", out, err)
	}
}

func TestMountedObjectsFollowTheirSource(t *testing.T) {
	s := newSpace(t)
	s.apply(`
{apiVersion: v1, kind: Secret, metadata: {name: secret, namespace: NAMESPACE}, stringData: {key: one, other: same}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: map, namespace: NAMESPACE}, data: {key: one}}
`)
	s.runPod(`
  containers:
    - name: c
      image: testbed
      env:
        - {name: FROM_SECRET, valueFrom: {secretKeyRef: {name: secret, key: other}}}
        - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: ADDR, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
      args: [serve, --addr, "$(ADDR):8080"]
      volumeMounts: [{name: secret, mountPath: /secret}, {name: all, mountPath: /all}]
  volumes:
    - {name: secret, secret: {secretName: secret}}
    - name: all
      projected:
        sources:
          - {configMap: {name: map, items: [{key: key, path: from/map}]}}
          - {downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
          - {serviceAccountToken: {path: token, audience: somebody, expirationSeconds: 600}}
`)
	want := func(path, text string) {
		t.Helper()
		s.eventually(path, func() error {
			got, err := s.file("pod", path)
			if err == nil && !strings.Contains(got, text) {
				err = fmt.Errorf("%q; want %q", got, text)
			}
			return err
		})
	}
	want("/secret/key", "one")
	want("/all/from/map", "one")
	want("/all/labels", `app="pod"`)
	want("/all/token", ".")
	want("/proc/1/environ", "FROM_SECRET=same\x00NAME=pod")
	s.apply(`
{apiVersion: v1, kind: Secret, metadata: {name: secret, namespace: NAMESPACE}, stringData: {key: two, other: same}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: map, namespace: NAMESPACE}, data: {key: two}}
`)
	want("/secret/key", "two")
	want("/all/from/map", "two")
	if p := s.pod("pod"); p.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Error("the container was restarted")
	}
}

func TestRestrictedPod(t *testing.T) {
	s := newSpace(t)
	n, err := bed.Client.CoreV1().Namespaces().Get(t.Context(), s.name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.Labels["pod-security.kubernetes.io/enforce"] = "restricted"
	if _, err := bed.Client.CoreV1().Namespaces().Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.runPod(`
  securityContext: {runAsNonRoot: true, runAsUser: 1234, fsGroup: 4321, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: c
      image: testbed
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
      args: [serve, --addr, ":80"]
      volumeMounts: [{name: scratch, mountPath: /scratch}]
  volumes: [{name: scratch, emptyDir: {}}]
`)
	if out, err := s.exec("pod", "", "tool", "write", "/tmp/x", "x"); err == nil || !strings.Contains(out, "read-only file system") {
		t.Errorf("write to the root file system: %q, %v; want it read-only", out, err)
	}
	if out, err := s.exec("pod", "", "tool", "write", "/scratch/x", "x"); err != nil {
		t.Errorf("write to an emptyDir: %q, %v", out, err)
	}
	status, err := s.file("pod", "/proc/1/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(status, line) {
			t.Errorf("want %q in %s", line, status)
		}
	}
	if uids, err := s.file("pod", "/proc/self/uid_map"); err == nil && strings.Contains(uids, "65536") && !strings.Contains(status, "Uid:\t1234\t1234") {
		t.Errorf("want user 1234 in %s", status)
	}
}

func TestProbes(t *testing.T) {
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: pod, namespace: NAMESPACE}
spec:
  containers:
    - name: c
      image: testbed
      args: [serve, --unready, 1500ms]
      startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 10}
      readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
      livenessProbe: {httpGet: {path: /healthy, port: 8080}, periodSeconds: 1, failureThreshold: 1}
    - name: by-grpc
      image: testbed
      args: [serve, --addr, ":8082", --grpc, ":9000"]
      readinessProbe: {grpc: {port: 9000}, periodSeconds: 1}
    - name: by-exec
      image: testbed
      args: [serve, --addr, ":8081"]
      readinessProbe: {exec: {command: [tool, get, "http://127.0.0.1:8081"]}, periodSeconds: 1}
`)
	s.eventually("runs and is not ready", func() error {
		p := s.pod("pod")
		if p.Status.Phase != corev1.PodRunning || condition(p, corev1.PodReady) {
			return fmt.Errorf("%+v", p.Status)
		}
		return nil
	})
	p := s.ready("pod")
	if _, err := get("http://" + p.Status.PodIP + ":8080/sick"); err != nil {
		t.Fatal(err)
	}
	s.eventually("restart", func() error {
		p := s.pod("pod")
		c := p.Status.ContainerStatuses[0]
		if c.RestartCount != 1 || c.LastTerminationState.Terminated == nil || !c.Ready {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	if p := s.pod("pod"); p.Status.ContainerStatuses[1].RestartCount != 0 || p.Status.ContainerStatuses[2].RestartCount != 0 {
		t.Error("another container was restarted too")
	}
}

func TestInitContainersAndBackoff(t *testing.T) {
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: pod, namespace: NAMESPACE}
spec:
  volumes: [{name: shared, emptyDir: {}}]
  initContainers:
    - {name: first, image: testbed, args: [write, /shared/x, written], volumeMounts: [{name: shared, mountPath: /shared}]}
    - {name: beside, image: testbed, restartPolicy: Always, args: [serve, --addr, ":8081"]}
  containers:
    - {name: c, image: testbed, volumeMounts: [{name: shared, mountPath: /shared}]}
    - {name: bad, image: testbed, args: [exit]}
    - {name: unknown, image: nobody.example/knows:1}
`)
	s.eventually("states", func() error {
		p := s.pod("pod")
		if len(p.Status.ContainerStatuses) != 3 || len(p.Status.InitContainerStatuses) != 2 {
			return errors.New("no states yet")
		}
		bad, unknown := p.Status.ContainerStatuses[1], p.Status.ContainerStatuses[2]
		if bad.RestartCount < 2 || bad.State.Waiting == nil || bad.State.Waiting.Reason != "CrashLoopBackOff" || bad.LastTerminationState.Terminated.ExitCode != 3 {
			return fmt.Errorf("bad: %+v", bad)
		}
		if unknown.State.Waiting == nil || unknown.State.Waiting.Reason != "ErrImagePull" {
			return fmt.Errorf("unknown: %+v", unknown)
		}
		if first := p.Status.InitContainerStatuses[0]; first.State.Terminated == nil || first.State.Terminated.ExitCode != 0 {
			return fmt.Errorf("first: %+v", first)
		}
		return nil
	})
	p := s.pod("pod")
	if body, err := get("http://" + p.Status.PodIP + ":8080/file/shared/x"); err != nil || body != "written" {
		t.Errorf("what the init container wrote: %q, %v", body, err)
	}
	if _, err := get("http://" + p.Status.PodIP + ":8081"); err != nil {
		t.Errorf("sidecar: %v", err)
	}
	text, err := bed.Client.CoreV1().Pods(s.name).GetLogs("pod", &corev1.PodLogOptions{Container: "bad", Previous: true}).DoRaw(t.Context())
	if err != nil || !strings.Contains(string(text), "leaving") {
		t.Errorf("previous log %q, %v; want leaving", text, err)
	}
}

func TestJobRunsToItsEnd(t *testing.T) {
	s := newSpace(t)
	s.apply(`
apiVersion: batch/v1
kind: Job
metadata: {name: job, namespace: NAMESPACE}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: testbed, args: [cat, /etc/hostname]}]
`)
	s.eventually("job", func() error {
		j, err := bed.Client.BatchV1().Jobs(s.name).Get(t.Context(), "job", metav1.GetOptions{})
		if err == nil && j.Status.Succeeded != 1 {
			err = fmt.Errorf("%+v", j.Status)
		}
		return err
	})
}

func TestTermination(t *testing.T) {
	tests := map[string]struct {
		container        string
		grace            int
		atLeast, atMost  time.Duration
		log, notInTheLog string
	}{
		"a server that drains has its time": {"args: [serve, --drain, 2s]", 20, 2 * time.Second, 8 * time.Second, "ended", ""},
		"grace ends it":                     {"args: [serve, --drain, 60s]", 2, 2 * time.Second, 8 * time.Second, "asked to end", "ended"},
		"a hook runs before":                {"lifecycle: {preStop: {sleep: {seconds: 2}}}", 20, 2 * time.Second, 8 * time.Second, "ended", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t)
			s.runPod(fmt.Sprintf("  terminationGracePeriodSeconds: %d\n  containers:\n    - name: c\n      image: testbed\n      %s\n", test.grace, test.container))
			follow, err := bed.Client.CoreV1().Pods(s.name).GetLogs("pod", &corev1.PodLogOptions{Follow: true}).Stream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer follow.Close()
			in := bufio.NewReader(follow)
			if _, err := in.ReadString('\n'); err != nil { // it serves, and so heeds signals
				t.Fatal(err)
			}
			began := time.Now()
			if err := bed.Client.CoreV1().Pods(s.name).Delete(t.Context(), "pod", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(in)
			if err != nil {
				t.Error(err)
			}
			s.eventually("gone", func() error {
				_, err := bed.Client.CoreV1().Pods(s.name).Get(t.Context(), "pod", metav1.GetOptions{})
				if apierrors.IsNotFound(err) {
					return nil
				}
				return fmt.Errorf("still there, %w", err)
			})
			if took := time.Since(began); took < test.atLeast || took > test.atMost {
				t.Errorf("took %v; want %v to %v", took, test.atLeast, test.atMost)
			}
			if log := string(text); !strings.Contains(log, test.log) || test.notInTheLog != "" && strings.Contains(log, test.notInTheLog) {
				t.Errorf("log %q; want %q and not %q", log, test.log, test.notInTheLog)
			}
		})
	}
}

func TestLogsAndExec(t *testing.T) {
	s := newSpace(t)
	p := s.runPod("  containers: [{name: c, image: testbed}]")
	logs := func(o corev1.PodLogOptions) string {
		t.Helper()
		text, err := bed.Client.CoreV1().Pods(s.name).GetLogs("pod", &o).DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	s.eventually("first line", func() error {
		if got := logs(corev1.PodLogOptions{}); got != "serving on :8080\n" {
			return fmt.Errorf("log %q", got)
		}
		return nil
	})
	follow, err := bed.Client.CoreV1().Pods(s.name).GetLogs("pod", &corev1.PodLogOptions{Follow: true}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer follow.Close()
	lines := bufio.NewScanner(follow)
	lines.Scan()
	time.Sleep(1100 * time.Millisecond) // sinceTime is in whole seconds
	since := metav1.Now()
	if _, err := get("http://" + p.Status.PodIP + ":8080"); err != nil {
		t.Fatal(err)
	}
	if lines.Scan(); !strings.HasPrefix(lines.Text(), "asked by "+ControlAddress) {
		t.Errorf("followed line %q", lines.Text())
	}
	if got := logs(corev1.PodLogOptions{SinceTime: &since}); !strings.HasPrefix(got, "asked by") {
		t.Errorf("log since: %q; want only the last line", got)
	}
	one := int64(1)
	if got := logs(corev1.PodLogOptions{TailLines: &one, Timestamps: true}); !strings.Contains(got, "Z asked by") {
		t.Errorf("last line: %q", got)
	}

	if out, err := s.exec("pod", "in and out", "tool", "copy"); err != nil || out != "in and out" {
		t.Errorf("copy: %q, %v", out, err)
	}
	var code utilexec.ExitError
	if out, err := s.exec("pod", "", "tool", "exit"); !errors.As(err, &code) || code.ExitStatus() != 3 || out != "leaving\n" {
		t.Errorf("exit: %q, %v; want code 3", out, err)
	}
}
