"""The SQLite log: open, group commit, tail, retention, the writer's lock. Knows not what it stores."""
