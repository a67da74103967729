// Package http3 speaks HTTP/3 to the binary with clients that are not ours, and with
// one that writes streams by hand. That one has two corpora: TestDowngrade is requests
// before an upstream of HTTP/1.1, those of package downgrade and what frames add to
// them; TestFaults is frames, streams, settings, field sections and QPACK instructions
// that are wrong, or that are to be passed over. Of the latter, what gets something
// else than it should is listed in testdata/known-failures.txt, each with its reason;
// one that is listed and passes is an error too.
package http3
