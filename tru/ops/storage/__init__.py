"""Storage that several rooms use: S3 buckets, SQLite files."""
