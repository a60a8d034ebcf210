//! The admin listener: health, metrics, the mail catcher of the demo, and what an operator may do.
