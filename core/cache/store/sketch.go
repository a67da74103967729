package store

// sketch estimates how often hashes were seen lately: a count-min sketch with four
// counters of 4 bits for each hash, halved after ten additions for each object that it is
// made for, so that the past fades.
type sketch struct {
	words     []uint64 // 16 counters each; a power of two of them
	objects   int
	additions int
}

const sketchRows = 4

// grow makes the sketch fit for n objects, keeping what it knows: the counter that a
// hash had is copied to both places that it may have now.
func (k *sketch) grow(n int) {
	k.objects = max(k.objects, n)
	size := max(len(k.words), 64)
	for size < n {
		size *= 2
	}
	if size == len(k.words) {
		return
	}
	words := make([]uint64, size)
	if old := len(k.words); old > 0 {
		for i := range words {
			words[i] = k.words[i&(old-1)]
		}
	}
	k.words = words
}

// place returns the word and the shift of the counter of h in row: all rows of a hash
// lie in one line of the processor's cache.
func (k *sketch) place(h uint64, row int) (word int, shift uint) {
	x := h * 0xbf58476d1ce4e5b9
	x ^= x >> 32
	bits := x >> (32 + 5*row)
	return int(x)&(len(k.words)/8-1)*8 + 2*row + int(bits&1), uint(bits>>1&15) * 4
}

// add counts h once.
func (k *sketch) add(h uint64) {
	added := false
	for row := range sketchRows {
		i, shift := k.place(h, row)
		if k.words[i]>>shift&15 < 15 {
			k.words[i] += 1 << shift
			added = true
		}
	}
	if !added {
		return
	}
	if k.additions++; k.additions >= 10*max(k.objects, 64) {
		k.halve()
	}
}

func (k *sketch) halve() {
	for i := range k.words {
		k.words[i] = k.words[i] >> 1 & 0x7777777777777777
	}
	k.additions /= 2
}

// count returns the estimate for h, 0..15.
func (k *sketch) count(h uint64) int {
	least := 15
	for row := range sketchRows {
		i, shift := k.place(h, row)
		least = min(least, int(k.words[i]>>shift&15))
	}
	return least
}
