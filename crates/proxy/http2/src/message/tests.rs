use super::content_length;
