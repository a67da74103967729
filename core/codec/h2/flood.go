package h2

// What a connection may do without it being work of use.
const (
	// Frames that ask for nothing to be served: SETTINGS, PING, PRIORITY,
	// WINDOW_UPDATE, empty DATA, unknown ones. A DATA frame that was sent pays
	// for two, since each may be answered by two WINDOW_UPDATEs, and for two more
	// for each 4 KiB, of which Go's client tells one by one; not one that was cut
	// short by a window that opens by a few bytes.
	controlBurst, controlPerSecond, controlPerData = 1000, 200, 2
	controlBytes                                   = 2 << 10
	worthwhile                                     = 1 << 10
	// Streams that end before their response: reset by the client, or because
	// of its mistakes, refused. A stream that ends well pays for a quarter.
	resetBurst, resetPerSecond, resetCost, resetCredit = 200 * 4, 50 * 4, 4, 1
	// Frames of one header block.
	maxFragments = 32
	// Times the header limit that a header block may be long: up to there it is
	// decoded, for the table's sake, and answered 431.
	blockFactor = 2
)
