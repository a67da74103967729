package kv_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"penstock.dev/penstock/hosts/capability"
	"penstock.dev/penstock/hosts/capability/kv"
)

// TestModel compares the store with a map over many random steps.
func TestModel(t *testing.T) {
	type kept struct {
		data string
		end  time.Time
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const room = 8000
	s := kv.New(kv.Options{Now: func() time.Time { return now }, Bytes: room, AllBytes: 2*room - 3000})
	model := map[[3]string]kept{}
	bytes := func(namespace string) (n int) {
		for k, v := range model {
			if namespace == "" || k[0] == namespace {
				n += len(k[2]) + len(v.data) + 200
			}
		}
		return n
	}
	random := rand.New(rand.NewPCG(5, 6))
	refused := 0
	for step := range 50_000 {
		now = now.Add(time.Duration(random.IntN(300)) * time.Millisecond)
		for k, v := range model {
			if !v.end.After(now) {
				delete(model, k)
			}
		}
		name := [3]string{fmt.Sprint("ns", random.IntN(2)), fmt.Sprint("state", random.IntN(2)), fmt.Sprint("key", random.IntN(30))}
		was, there := model[name]
		key, ttl := []byte(name[2]), time.Duration(1+random.IntN(20))*time.Second
		fits := func(data int) bool {
			more := data - len(was.data)
			if !there {
				more = len(key) + data + 200
			}
			return more <= 0 || bytes(name[0])+more <= room && bytes("")+more <= 2*room-3000
		}
		switch random.IntN(4) {
		case 0:
			data, absent := make([]byte, random.IntN(900)), random.IntN(2) == 0
			err := s.Put(name[0], name[1], key, data, ttl, absent)
			var want error
			switch {
			case there && absent:
				want = capability.ErrKVExists
			case !fits(len(data)):
				want = capability.ErrKVFull
				refused++
			default:
				model[name] = kept{string(data), now.Add(ttl)}
			}
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Fatalf("step %d: put: %v; want %v", step, err, want)
			}
		case 1:
			s.Delete(name[0], name[1], key)
			delete(model, name)
		case 2:
			sum, err := s.Add(name[0], name[1], key, 7, ttl)
			switch {
			case there && len(was.data) != 8:
				if !errors.Is(err, capability.ErrKVNumber) {
					t.Fatalf("step %d: %v for what is no number", step, err)
				}
			case !fits(8):
				if !errors.Is(err, capability.ErrKVFull) {
					t.Fatalf("step %d: add: %v", step, err)
				}
			default:
				want := int64(7)
				if end := now.Add(ttl); there {
					want += int64(binary.LittleEndian.Uint64([]byte(was.data)))
					model[name] = kept{string(binary.LittleEndian.AppendUint64(nil, uint64(want))), was.end}
				} else {
					model[name] = kept{string(binary.LittleEndian.AppendUint64(nil, uint64(want))), end}
				}
				if sum != want || err != nil {
					t.Fatalf("step %d: %d, %v; want %d", step, sum, err, want)
				}
			}
		}
		got, left, ok := s.Value([]byte(">"), name[0], name[1], key)
		want, there := model[name]
		if ok != there || ok && (string(got) != ">"+want.data || left != want.end.Sub(now)) {
			t.Fatalf("step %d: %v %q for %v; want %v %q for %v", step, ok, got, left, there, want.data, want.end.Sub(now))
		}
	}
	if refused < 100 {
		t.Errorf("only %d values were refused: the room is not tested", refused)
	}
}

func TestAddPastTheEnd(t *testing.T) {
	s := kv.New(kv.Options{})
	for _, delta := range []int64{math.MaxInt64, math.MinInt64 + 10} {
		key := fmt.Append(nil, delta)
		if _, err := s.Add("ns", "s", key, delta, time.Minute); err != nil {
			t.Fatal(err)
		}
		step := int64(1)
		if delta < 0 {
			step = -11
		}
		if sum, err := s.Add("ns", "s", key, step, time.Minute); !errors.Is(err, capability.ErrKVNumber) {
			t.Errorf("%d + %d: %d, %v", delta, step, sum, err)
		}
		if sum, err := s.Add("ns", "s", key, 0, time.Minute); sum != delta || err != nil {
			t.Errorf("%d, %v after a sum that was refused", sum, err)
		}
	}
}
