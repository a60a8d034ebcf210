//! What a person types: `serve`, `check`, `init`, `schema`, `users`, `keys`, `explain`, `demo`.
