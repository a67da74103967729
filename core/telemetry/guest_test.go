package telemetry

import (
	"errors"
	"fmt"
	"testing"
)

func TestSeriesOfANamespaceAreBounded(t *testing.T) {
	m := New()
	m.SetGuestSeries(map[string]int{"small": 21})
	first, second := m.GuestSet("small", "Service/small/a", "service/x"), m.GuestSet("small", "Service/small/b", "service/x")
	if _, err := first.Define(GuestHistogram, "h"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the same one again costs nothing
		if _, err := second.Define(GuestCounter, "a"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := second.Define(GuestGauge, "b"); err != nil {
		t.Fatal(err)
	}
	want := "too many series defined by the filters of one namespace (a PluginPolicy's spec.limits.totals.metricSeries)"
	if _, err := second.Define(GuestGauge, "c"); !errors.Is(err, ErrNamespaceSeries) || err.Error() != want {
		t.Errorf("got %v; want %s", err, want)
	}
	other := m.GuestSet("other", "Service/other/a", "service/x")
	if _, err := other.Define(GuestGauge, "c"); err != nil {
		t.Errorf("another namespace: got %v", err)
	}
	cluster := m.GuestSet("", "PluginPolicy/p", "policy/x")
	for i := range MaxGuestSeries {
		if _, err := cluster.Define(GuestCounter, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cluster.Define(GuestCounter, "more"); !errors.Is(err, ErrTooManySeries) {
		t.Errorf("got %v; want ErrTooManySeries", err)
	}
	first.Close()
	if _, err := second.Define(GuestGauge, "c"); err != nil {
		t.Errorf("after a filter's end: got %v", err)
	}
	second.Close()
	second.Close()
	if n := m.guests.series["small"]; n != 0 {
		t.Errorf("%d series are left", n)
	}
}
