//! Shapes: what every response must carry and what a request head must look like.
