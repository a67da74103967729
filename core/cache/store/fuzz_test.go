package store

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"reflect"
	"testing"
)

// sampleRecords are records as the store writes them.
func sampleRecords() (all [][]byte) {
	site := &site{namespace: &namespace{name: "shop"}, service: "web", hostname: "shop.example.com"}
	for i, sample := range []struct{ key, variant, head, path, tags, body string }{
		{"", "", "", "", "", ""},
		{"k/path", "v", "head", "/path", "\x03\x00tag", "body"},
		{"k", "variant", "head of it", "/elsewhere?q=1", "\x01\x00a\x02\x00bc", "a longer body, which ends"},
	} {
		o := &Object{site: site, stored: int64(i + 1)}
		o.lay([]byte(sample.key), []byte(sample.variant), []byte(sample.head), []byte(sample.path), []byte(sample.tags), 100)
		o.blob = append(o.blob, sample.body...)
		all = append(all, appendRecord(nil, o, i == 1, 0, 0))
	}
	large := &Object{site: site, stored: 9, more: &more{size: 1 << 20}}
	large.lay([]byte("key"), nil, []byte("head"), []byte("/"), nil, 0)
	return append(all, appendRecord(nil, large, false, 77, 0))
}

// mendRecord puts right sums into p, as far as its lengths say where they are of.
func mendRecord(p []byte) {
	le := binary.LittleEndian
	if len(p) < recordHeader {
		return
	}
	end := recordHeader + int(p[60]) + int(p[61]) + int(p[62])
	for _, at := range []int{40, 44, 48} {
		end += int(le.Uint32(p[at:]))
	}
	end += int(le.Uint16(p[58:]))
	if le.Uint32(p[52:]) >= le.Uint32(p[40:]) {
		end += int(le.Uint16(p[56:]))
	}
	if end > len(p) {
		return
	}
	if n := le.Uint64(p[24:]); le.Uint64(p[32:]) == 0 && n <= uint64(len(p)-end) {
		le.PutUint32(p[12:], crc32.Checksum(p[end:end+int(n)], castagnoli))
	}
	le.PutUint32(p[8:], headSum(p[:end]))
}

// FuzzRecord: what is taken for a record is what the store writes for the object that
// it is read as; and no byte of that can be another one.
func FuzzRecord(f *testing.F) {
	for _, p := range sampleRecords() {
		f.Add(p, uint16(9))
		f.Add(p[:len(p)-1], uint16(70))
		f.Add(append(p, p...), uint16(0))
	}
	f.Fuzz(func(t *testing.T, p []byte, at uint16) {
		mendRecord(p)
		r, err := parseRecord(p, 0)
		if err != nil || !r.checkBody(p) {
			return
		}
		end := r.bodyAt
		if r.file == 0 {
			end += int(r.size)
		}
		o := r.object(p, &site{namespace: &namespace{name: string(r.namespace)}, service: string(r.service), hostname: string(r.hostname)})
		if r.file != 0 {
			o.more = &more{size: r.size}
		}
		again := appendRecord(nil, o, r.stale, r.file, 0)
		if len(again) != r.length || !bytes.Equal(again[:end], p[:end]) || recordBytes(o, r.file != 0) != r.length {
			t.Fatalf("read\n%q\nas what is written\n%q", p[:end], again)
		}
		if string(o.Key()) != string(r.key) || string(o.Path()) != string(r.path) || string(o.Head()) != string(r.head) || o.Size() != r.size {
			t.Fatalf("read %q %q %q %d; want %q %q %q %d", o.Key(), o.Path(), o.Head(), o.Size(), r.key, r.path, r.head, r.size)
		}
		changed := bytes.Clone(p)
		i := int(at) / 8 % end
		changed[i] ^= 1 << (at % 8)
		if r, err := parseRecord(changed, 0); err == nil && r.checkBody(changed) {
			t.Fatalf("byte %d changed, and it is still a record", i)
		}
		if _, err := parseRecord(p, 1); err == nil {
			t.Fatal("a record at another place")
		}
	})
}

// FuzzIndex: an index is read as what would be written the same, up to where it ends.
func FuzzIndex(f *testing.F) {
	text := appendSite(nil, "web", "shop.example.com")
	text = appendIndexed(text, &indexed{hash: 1, url: 2, stored: 3, size: 4, variant: 5, offset: 6, length: 7, tags: make([]byte, 16)})
	text = appendIndexed(text, &indexed{hash: 1, file: 8, stored: 9, size: 1 << 30, stale: true})
	f.Add(text)
	f.Add(text[:len(text)-1])
	f.Fuzz(func(t *testing.T, p []byte) {
		for rest := p; len(rest) >= 12; { // right sums, as far as lengths go
			n := int(binary.LittleEndian.Uint32(rest))
			if n < 12 || n > len(rest) {
				break
			}
			sealEntry(rest[:n:n], 0)
			rest = rest[n:]
		}
		var sites []siteName
		var again []byte
		named := 0
		name := func() {
			for ; named < len(sites); named++ {
				again = appendSite(again, sites[named].service, sites[named].hostname)
			}
		}
		good := parseIndex(p, &sites, func(x *indexed) {
			name()
			if int(x.site) >= len(sites) {
				t.Fatalf("site %d of %d", x.site, len(sites))
			}
			again = appendIndexed(again, x)
		})
		name()
		if len(again) != good {
			t.Fatalf("%d bytes read, %d written", good, len(again))
		}
		// Bytes that mean nothing need not be the same: flags, and what is zero.
		var twice []siteName
		if n := parseIndex(again, &twice, func(*indexed) {}); n != good || len(twice) != len(sites) {
			t.Fatalf("read again: %d bytes, %d sites; want %d, %d", n, len(twice), good, len(sites))
		}
	})
}

// FuzzKills: whatever is in the two copies, a kill that one of them holds whole is not
// forgotten without being told.
func FuzzKills(f *testing.F) {
	kills := []kill{{kind: killNone}, {kind: killDead, segment: 1, offset: 64}, {kind: killStale, segment: 1, offset: 128},
		{kind: killOlder, offset: 5, hash: 6, stamp: 7}}
	text := appendKills(nil, kills...)
	f.Add(text, text, uint8(3))
	f.Add(text[:40], text, uint8(1))
	f.Add([]byte{}, text, uint8(2))
	f.Fuzz(func(t *testing.T, a, b []byte, at uint8) {
		all, whole := parseKills(a, b)
		if !whole {
			return
		}
		i := int(at) * killBytes
		for _, p := range [][]byte{a, b} {
			if len(p) < i+killBytes {
				continue
			}
			k, ok := killAt(p[i:])
			if !ok {
				continue
			}
			x := indexed{hash: k.hash, variant: k.offset, offset: k.offset, stored: k.stamp - 1}
			if k.kind == killDead && all.of(k.segment, &x) != killDead || k.kind == killStale && all.of(k.segment, &x) == 0 {
				if other, ok := killAt(a[min(i, len(a)):]); ok && other != k {
					continue // the copies differ: the first counts
				}
				t.Fatalf("%+v is forgotten", k)
			}
		}
		if i := (identity{6, 5}); all.older[i] != 0 && all.of(0, &indexed{hash: 6, variant: 5, stored: all.older[i]}) == killDead && len(all.records) == 0 {
			t.Fatal("what is not older is dead")
		}
	})
}

// FuzzMissed: a purge is read as it was written, whatever comes before; and no byte of
// it can be another one without all being missed.
func FuzzMissed(f *testing.F) {
	f.Add("n", "tag", "h.example", "/path?q", true, uint64(1), []byte{}, uint16(0))
	f.Add("n", "", "", "", false, uint64(1<<40), appendMissedAll(nil), uint16(20))
	f.Add("n\x00", "a\xff", "h", "/", true, uint64(0), appendMissedKey(nil, 7), uint16(9))
	h := hasherOf(make([]byte, 32))
	f.Fuzz(func(t *testing.T, namespace, tag, hostname, path string, soft bool, hash uint64, before []byte, at uint16) {
		want := &Purge{Namespace: namespace, Tags: []string{tag, "x"}, Hostnames: []string{hostname}, URLs: []URL{{hostname, path}}, Prefixes: []URL{{"", path}}, Soft: soft}
		text := appendMissedPurge(nil, want)
		if got, ok := parsePurge(text[9:]); !ok || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v; want %+v", got, want)
		}
		parseMissed(append(before[:len(before):len(before)], text...), &h) // does not panic
		i := identity{hash, uint32(hash >> 7)}
		text = appendMissedObject(appendMissedKey(text, hash), i)
		m := parseMissed(text, &h)
		of := &m.hard
		if soft {
			of = &m.soft
		}
		if m.all || !m.keys[hash] || !m.objects[i] || !of.hashes[h.tag(namespace, []byte(tag))] || !of.hostnames[[2]string{namespace, hostname}] || len(of.prefixes) != 1 {
			t.Fatalf("got %+v", m)
		}
		text[int(at)%len(text)] ^= 1 + byte(at>>8)&0x7f
		if m := parseMissed(text, &h); !m.all {
			t.Fatalf("damaged at %d of %d: %+v", at, len(text), m)
		}
	})
}
