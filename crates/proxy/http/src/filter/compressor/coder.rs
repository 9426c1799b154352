//! Codings of bodies: gzip, brotli and zstd, as changes to a body.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};
use meltemi_ir as ir;
use meltemi_lifecycle::WorkerId;
use meltemi_telemetry::{CompressorStats, DecompressorStats, Sharded};

use crate::filter::transform::{BodyTransform, Rest, TransformError};
use crate::headers::number;

/// Compresses a body.
pub(super) struct Encoder {
    coder: Option<Coder>,
    stats: Option<Arc<Sharded<CompressorStats>>>,
    worker: WorkerId,
}

enum Coder {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    pub(super) fn new(
        coding: ir::Coding,
        stats: Option<Arc<Sharded<CompressorStats>>>,
        worker: WorkerId,
    ) -> Self {
        let coder = match coding {
            ir::Coding::Gzip(level) => {
                let level = flate2::Compression::new(level);
                Some(Coder::Gzip(flate2::write::GzEncoder::new(
                    Vec::new(),
                    level,
                )))
            }
            ir::Coding::Brotli { quality, window } => Some(Coder::Brotli(Box::new(
                brotli::CompressorWriter::new(Vec::new(), 4096, quality, window),
            ))),
            ir::Coding::Zstd(level) => zstd::stream::write::Encoder::new(Vec::new(), level)
                .ok()
                .map(Coder::Zstd),
        };
        Self {
            coder,
            stats,
            worker,
        }
    }

    fn count(&self, before: usize, after: usize) {
        if let Some(stats) = &self.stats {
            let stats = stats.shard(self.worker);
            stats.total_uncompressed_bytes.add(before as u64);
            stats.total_compressed_bytes.add(after as u64);
        }
    }
}

const FAILED: TransformError = TransformError("the body could not be coded");

impl BodyTransform for Encoder {
    fn data(&mut self, data: Bytes) -> Result<Bytes, TransformError> {
        let coder = self.coder.as_mut().ok_or(FAILED)?;
        let coded = match coder {
            Coder::Gzip(coder) => coder
                .write_all(&data)
                .and_then(|()| coder.flush())
                .map(|()| std::mem::take(coder.get_mut())),
            Coder::Brotli(coder) => coder
                .write_all(&data)
                .and_then(|()| coder.flush())
                .map(|()| std::mem::take(coder.get_mut())),
            Coder::Zstd(coder) => coder
                .write_all(&data)
                .and_then(|()| coder.flush())
                .map(|()| std::mem::take(coder.get_mut())),
        };
        let coded = coded.map_err(|_| FAILED)?;
        self.count(data.len(), coded.len());
        Ok(coded.into())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Rest, TransformError> {
        let coded = match self.coder.take().ok_or(FAILED)? {
            Coder::Gzip(coder) => coder.finish(),
            Coder::Brotli(coder) => Ok(coder.into_inner()),
            Coder::Zstd(coder) => coder.finish(),
        };
        let coded = coded.map_err(|_| FAILED)?;
        self.count(0, coded.len());
        Ok((coded.into(), trailers))
    }
}

/// Decompresses a body.
pub(crate) struct Decoder {
    coder: Inverse,
    /// Compressed and uncompressed bytes so far.
    bytes: (u64, u64),
    max_ratio: u64,
    names: (HeaderName, HeaderName),
    stats: Arc<Sharded<DecompressorStats>>,
    worker: WorkerId,
}

enum Inverse {
    Gzip(Box<flate2::write::MultiGzDecoder<Vec<u8>>>),
    Brotli(Box<brotli::DecompressorWriter<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Vec<u8>>>),
}

impl Decoder {
    pub(crate) fn new(
        config: &ir::Decompressor,
        names: (HeaderName, HeaderName),
        stats: Arc<Sharded<DecompressorStats>>,
        worker: WorkerId,
    ) -> Option<Self> {
        let coder = match config.coding {
            ir::Coding::Gzip(_) => {
                Inverse::Gzip(Box::new(flate2::write::MultiGzDecoder::new(Vec::new())))
            }
            ir::Coding::Brotli { .. } => {
                Inverse::Brotli(Box::new(brotli::DecompressorWriter::new(Vec::new(), 4096)))
            }
            ir::Coding::Zstd(_) => Inverse::Zstd(Box::new(
                zstd::stream::write::Decoder::new(Vec::new()).ok()?,
            )),
        };
        Some(Self {
            coder,
            bytes: (0, 0),
            max_ratio: u64::from(config.max_ratio),
            names,
            stats,
            worker,
        })
    }
}

impl BodyTransform for Decoder {
    fn data(&mut self, data: Bytes) -> Result<Bytes, TransformError> {
        const BAD: TransformError = TransformError("the body is not what its coding says");
        let mut plain = Vec::new();
        // in pieces, so that a body that grows beyond measure is noticed in time
        for piece in data.chunks(4096) {
            let more = match &mut self.coder {
                Inverse::Gzip(coder) => coder
                    .write_all(piece)
                    .and_then(|()| coder.flush())
                    .map(|()| std::mem::take(coder.get_mut())),
                Inverse::Brotli(coder) => coder
                    .write_all(piece)
                    .and_then(|()| coder.flush())
                    .map(|()| std::mem::take(coder.get_mut())),
                Inverse::Zstd(coder) => coder
                    .write_all(piece)
                    .and_then(|()| coder.flush())
                    .map(|()| std::mem::take(coder.get_mut())),
            };
            plain.extend_from_slice(&more.map_err(|_| BAD)?);
            self.bytes.0 += piece.len() as u64;
            if plain.len() as u64 + self.bytes.1 > self.bytes.0.saturating_mul(self.max_ratio) {
                return Err(TransformError("the body grows beyond measure"));
            }
        }
        self.bytes.1 += plain.len() as u64;
        let stats = self.stats.shard(self.worker);
        stats.total_compressed_bytes.add(data.len() as u64);
        stats.total_uncompressed_bytes.add(plain.len() as u64);
        Ok(plain.into())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Rest, TransformError> {
        let mut trailers = trailers.unwrap_or_default();
        let (compressed, uncompressed) = self.names.clone();
        trailers.insert(compressed, number(self.bytes.0));
        trailers.insert(uncompressed, number(self.bytes.1));
        Ok((Bytes::new(), Some(trailers)))
    }
}
