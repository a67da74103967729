package oidc

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"penstock.dev/penstock/conformance/harness"
)

// browser is Chromium, which is driven by its DevTools protocol.
type browser struct {
	t  testing.TB
	ws *websocket.Conn

	mu      sync.Mutex
	last    int
	pending map[int]chan reply
}

// reply is one of the protocol.
type reply struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// startBrowser runs a browser that finds hostnames where rules say, and trusts a key.
func startBrowser(t *testing.T, rules, spki string) *browser {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	c := exec.CommandContext(ctx, harness.Tool(t, "chromium"), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--user-data-dir="+dir, "--remote-debugging-port=0", "--host-resolver-rules="+rules, "--ignore-certificate-errors-spki-list="+spki,
		"--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,LocalNetworkAccessChecks", "about:blank")
	c.Env = append(os.Environ(), "HOME="+t.TempDir())
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 10 * time.Second
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = c.Wait() // ended by a signal
	})
	var address string
	until(t, "the browser is there", func() bool {
		text, err := os.ReadFile(filepath.Join(dir, "DevToolsActivePort"))
		port, path, ok := strings.Cut(strings.TrimSpace(string(text)), "\n")
		address = "ws://127.0.0.1:" + port + path
		return err == nil && ok
	})
	ws, _, err := websocket.Dial(ctx, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	ws.SetReadLimit(16 << 20)
	b := &browser{t: t, ws: ws, pending: map[int]chan reply{}}
	var wg sync.WaitGroup
	wg.Go(b.read)
	t.Cleanup(func() {
		_ = ws.CloseNow()
		wg.Wait()
	})
	return b
}

func (b *browser) read() {
	for {
		_, text, err := b.ws.Read(context.Background())
		if err != nil {
			return
		}
		var r reply
		if json.Unmarshal(text, &r) != nil || r.ID == 0 {
			continue // an event
		}
		b.mu.Lock()
		answered := b.pending[r.ID]
		delete(b.pending, r.ID)
		b.mu.Unlock()
		if answered != nil {
			answered <- r
		}
	}
}

// call calls a method, in a tab or, if that is empty, of the browser.
func (b *browser) call(tab, method string, params, result any) error {
	answered := make(chan reply, 1)
	b.mu.Lock()
	b.last++
	id := b.last
	b.pending[id] = answered
	b.mu.Unlock()
	message := map[string]any{"id": id, "method": method, "params": params}
	if tab != "" {
		message["sessionId"] = tab
	}
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := b.ws.Write(ctx, websocket.MessageText, text); err != nil {
		return err
	}
	select {
	case r := <-answered:
		if r.Error != nil {
			return fmt.Errorf("%s: %s", method, r.Error.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(r.Result, result)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

func (b *browser) must(tab, method string, params, result any) {
	b.t.Helper()
	if err := b.call(tab, method, params, result); err != nil {
		b.t.Fatal(err)
	}
}

// tab is one of the browser's, with its session in the protocol.
type tab struct {
	*browser
	session string
}

// open opens a tab.
func (b *browser) open() *tab {
	b.t.Helper()
	var made struct{ TargetID string }
	b.must("", "Target.createTarget", map[string]any{"url": "about:blank"}, &made)
	var attached struct{ SessionID string }
	b.must("", "Target.attachToTarget", map[string]any{"targetId": made.TargetID, "flatten": true}, &attached)
	return &tab{b, attached.SessionID}
}

// visit types an address.
func (p *tab) visit(address string) {
	p.t.Helper()
	p.must(p.session, "Page.navigate", map[string]any{"url": address}, nil)
}

// eval returns what an expression is in the page, as a text; "" where there is no page yet.
func (p *tab) eval(expression string) string {
	var got struct {
		Result struct{ Value json.RawMessage }
	}
	err := p.call(p.session, "Runtime.evaluate", map[string]any{"expression": "(async () => String(await (" + expression + ")))()", "returnByValue": true, "awaitPromise": true}, &got)
	var text string
	if err != nil || json.Unmarshal(got.Result.Value, &text) != nil {
		return ""
	}
	return text
}

// shows waits until an address begins so, and the page has a text.
func (p *tab) shows(address, text string) {
	p.t.Helper()
	var at, has string
	defer func() {
		if p.t.Failed() {
			p.t.Logf("the tab is at %q and shows %.500q", at, has)
		}
	}()
	until(p.t, address+" shows "+text, func() bool {
		at, has = p.eval("location.href"), p.eval("document.readyState == 'complete' && document.documentElement.outerHTML")
		return strings.HasPrefix(at, address) && strings.Contains(has, text)
	})
}

// cookie is one as the browser has it.
type cookie struct {
	Name     string `json:"name"`
	Value    string `json:"value"`
	Domain   string `json:"domain"`
	Path     string `json:"path"`
	Secure   bool   `json:"secure"`
	HTTPOnly bool   `json:"httpOnly"`
	SameSite string `json:"sameSite"`
}

// cookies are those that an address gets.
func (p *tab) cookies(address string) []cookie {
	p.t.Helper()
	var got struct{ Cookies []cookie }
	p.must(p.session, "Network.getCookies", map[string]any{"urls": []string{address}}, &got)
	return got.Cookies
}

// until tries for a minute.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within a minute: %s", what)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
