"""The watching of CVMs after a request: the watcher, the judgement of statuses, the final verification, abandonment."""
