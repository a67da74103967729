package plugin

import (
	"context"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/oci"
)

// folderInterval is how often it is looked whether a folder of images has changed: one
// stat for each folder.
const folderInterval = time.Second

// Folders is what Images offers besides if some images are in folders of this machine.
type Folders interface {
	// LayoutsVersion is another text once a folder has changed.
	LayoutsVersion() string
	// InLayout returns the digest that an image has in a folder; empty: it is in none.
	InLayout(reference string) string
}

// runFolders follows tags of images in folders until ctx is done.
func (m *Manager) runFolders(ctx context.Context, f Folders) {
	seen := f.LayoutsVersion()
	t := time.NewTicker(folderInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if now := f.LayoutsVersion(); now != seen {
			seen = now
			m.followFolders(ctx, f)
		}
	}
}

// followFolders looks at each tag once. What is loaded is held by its pin until tags are
// next looked up, as followTags does: a second may be too short for chains to take it up.
func (m *Manager) followFolders(ctx context.Context, f Folders) {
	m.eachTag(func(r *Runtime, base *config.Filter, reference oci.Reference) {
		digest := f.InLayout(base.Image)
		if digest == "" || r.settled() {
			m.followTag(ctx, r, base, reference, digest)
			return
		}
		select { // it may wait for this image
		case r.kick <- struct{}{}:
		default:
		}
	})
}
