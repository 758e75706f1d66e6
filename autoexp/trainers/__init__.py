"""Programs that run inside a job; the watcher never imports them."""
