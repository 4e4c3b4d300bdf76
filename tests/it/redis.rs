//! Redis itself: away, back, back empty, hanging, and wrong from the start.
