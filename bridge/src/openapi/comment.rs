//! The contract's comments, by what they stand on.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, FileDescriptor};

/// All leading comments of a pool.
pub(super) struct Comments {
    by_place: HashMap<(String, Vec<i32>), String>,
}

impl Comments {
    pub(super) fn read(pool: &DescriptorPool) -> Self {
        let mut by_place = HashMap::new();
        for file in pool.files() {
            let info = file.file_descriptor_proto().source_code_info.as_ref();
            for location in info.into_iter().flat_map(|info| &info.location) {
                if let Some(comment) = &location.leading_comments {
                    by_place.insert((file.name().to_owned(), location.path.clone()), unwrapped(comment));
                }
            }
        }
        Self { by_place }
    }

    /// The comment on what is at `path` of `file`; empty without one.
    pub(super) fn on(&self, file: &FileDescriptor, path: &[i32]) -> &str {
        self.by_place.get(&(file.name().to_owned(), path.to_vec())).map_or("", String::as_str)
    }
}

/// The first sentence, without its full stop.
pub(super) fn first_sentence(comment: &str) -> &str {
    comment.split_once(". ").map_or(comment, |(sentence, _)| sentence).trim_end_matches('.')
}

/// One line of what was wrapped to fit a page.
fn unwrapped(comment: &str) -> String {
    comment.split_whitespace().collect::<Vec<_>>().join(" ")
}
