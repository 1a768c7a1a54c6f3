"""Search in two stages over one's own texts, and the measurements that say whether it helps."""
