// Package store keeps objects by key, in memory and on disk. It knows nothing of HTTP:
// an object is a key, a variant, a head and a body, all opaque, and attributes that
// purges and quotas look at.
//
// # Entries
//
// Each object is one entry, wherever its bytes are: 56 bytes in pages that the garbage
// collector passes over, linked by number (table.go). 64 shards find entries by the keyed
// hash of the key; a shard's lock is all that Get takes. Everything else, lists, tags,
// sites, budgets, is behind Store.mu, which is never held over I/O. What Get finds is
// noted without a lock and handed on in small lots.
//
// # Memory
//
// An object of up to 32 KiB is one piece of memory, a larger body is chunks of up to 256
// KiB. All of it is ordinary memory of Go: who still reads an object that was evicted
// keeps it alive, nothing is counted, nothing is reused. Each namespace has its own
// W-TinyLFU (memory.go, sketch.go). When the budget is full, who stores loses of its own
// if it holds more than its share (budget / namespaces that hold something), else the
// one that holds most loses: nobody below its share loses anything.
//
// # Growing bodies
//
// A Writer's chunks are shared by all readers (writer.go, reader.go). What grows beyond
// a sixteenth of the memory budget (at most 32 MiB) goes on in a file, of which the last
// MiB stays in memory (spill.go). What may not be stored is passed on: no more than 256
// KiB ahead of its slowest reader.
//
// # Disk
//
//	format          magic, version, secret of the hashes
//	lock            locked by the process that uses the folder
//	N.seg, N.idx    a segment: records of one namespace, and what the index needs of each
//	N.body          a body from 256 KiB on: its bytes, a CRC-32C of each 64 KiB, an end
//	kills-a, -b     what is dead or stale though it lies in a segment; two equal copies
//	missed          what was removed by a process that waits for the folder
//
// One goroutine appends queued objects to the open segment of their namespace, first the
// records, then their index (write.go). A record has its own CRC-32C and everything of
// its object, so it is checked by itself whenever it is read (record.go, fetch.go): what
// is damaged costs that object. Space is freed before it is used: the oldest segment of
// a namespace goes, chosen by the same rule of shares, and what was asked for since is
// queued again (room.go). Purge, Remove, Update and replacing note the places of dead
// records in the kills before they return; Purge also syncs them. A place is given to a
// record before it is written, so that nothing can be purged without one. If the kills
// cannot be written, or neither copy can be read, the segments themselves go.
//
// Open reads the indexes, newest segment first, in the background (load.go); records
// that a crash left without index are looked for in the segment. Purge waits for that.
// An object on disk takes about 120 bytes of memory, and 48 for each tag.
//
// # Hand-over
//
// Release lets go of the folder before the store ends, and Options.Wait lets another one
// begin without it and adopt it then (await.go). Until then that one finds what is in
// memory, and queues nothing. What it purges and removes it appends to the file missed
// (missed.go), which whoever locks the folder next applies to every record that is there,
// whatever its stamp: what the other process stores meanwhile may have been fetched
// before. Of two objects of one key and variant the one in memory is kept; once the
// folder is loaded, what is in memory alone is queued.
//
// # Locks
//
// In this order: disk.noting, Writer.mu, disk.turn, Store.mu, then one of shard.mu, large.mu,
// disk.filesMu.
package store
