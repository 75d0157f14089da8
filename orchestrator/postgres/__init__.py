"""The team store: runs from several machines in one PostgreSQL database. Imported only where `store.url` is set."""
