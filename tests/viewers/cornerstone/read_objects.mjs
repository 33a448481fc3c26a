// Reads objects as Cornerstone3D, the engine of OHIF, does.
//   node read_objects.mjs REQUEST.json
// Each request of the list names SEGs, SRs and the source frames in the order of the
// viewer, each with its index in our order. Each answer of the list on standard output
// holds, for each SEG, the SHA-256 of each segment's mask (one byte a voxel, frame by
// frame in our order), and for each SR the annotations that hydrate.
import { readFileSync } from 'node:fs';
import { createHash } from 'node:crypto';

globalThis.self ??= globalThis;
globalThis.window ??= globalThis;
console.warn = console.info = console.debug = () => {};
const log = console.log;
console.log = () => {};

const { default: dcmjs } = await import('dcmjs');
const { cache, metaData } = await import('@cornerstonejs/core');
const { adaptersSEG, adaptersSR } = await import('@cornerstonejs/adapters');
const { DicomMessage, DicomMetaDictionary } = dcmjs.data;

function readNaturalized(path) {
  const file = readFileSync(path);
  const buffer = file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength);
  const read = DicomMessage.readFile(buffer, { ignoreErrors: true });
  const dataset = DicomMetaDictionary.naturalizeDataset(read.dict);
  dataset._meta = DicomMetaDictionary.namifyDataset(read.meta);
  return { dataset, buffer };
}

const first = (value) => (Array.isArray(value) ? value[0] : value);
const numbers = (value) =>
  value === undefined ? undefined : [...value].map(Number);

function groups(dataset, frame) {
  const own = dataset.PerFrameFunctionalGroupsSequence?.[frame - 1] ?? {};
  const shared = first(dataset.SharedFunctionalGroupsSequence) ?? {};
  const pick = (keyword) => first(own[keyword] ?? shared[keyword]) ?? {};
  return {
    ...pick('PixelMeasuresSequence'),
    ...pick('PlanePositionSequence'),
    ...pick('PlaneOrientationSequence'),
  };
}

async function answerTo(request) {
  const headers = new Map();
  const images = request.frames.map(({ index, path, frame, rows, columns, sop_instance_uid,
    series_instance_uid, number_of_frames }) => {
    if (!headers.has(path)) headers.set(path, readNaturalized(path).dataset);
    const dataset = headers.get(path);
    const place = groups(dataset, frame);
    const orientation = numbers(
      place.ImageOrientationPatient ?? dataset.ImageOrientationPatient);
    const position = numbers(
      place.ImagePositionPatient ?? dataset.ImagePositionPatient);
    const spacing = numbers(place.PixelSpacing ?? dataset.PixelSpacing
      ?? dataset.ImagerPixelSpacing) ?? [1, 1];
    // What the viewer assumes where an image has no place in the patient.
    const axes = orientation ?? [1, 0, 0, 0, 1, 0];
    const suffix = number_of_frames > 1 ? `?frame=${frame}` : '';
    return {
      imageId: `test:${sop_instance_uid}${suffix}`,
      modules: {
        instance: {
          ...dataset,
          SOPInstanceUID: sop_instance_uid,
          SeriesInstanceUID: series_instance_uid,
          Rows: rows,
          Columns: columns,
          ImageOrientationPatient: orientation,
          ImagePositionPatient: position,
        },
        imagePlaneModule: {
          rows,
          columns,
          frameOfReferenceUID: dataset.FrameOfReferenceUID,
          imageOrientationPatient: axes,
          rowCosines: axes.slice(0, 3),
          columnCosines: axes.slice(3),
          imagePositionPatient: position ?? [0, 0, 0],
          pixelSpacing: spacing,
          rowPixelSpacing: spacing[0],
          columnPixelSpacing: spacing[1],
          usingDefaultValues: orientation === undefined,
        },
        generalSeriesModule: {
          seriesInstanceUID: series_instance_uid,
          modality: dataset.Modality,
        },
        generalImageModule: { sopInstanceUID: sop_instance_uid },
        sopCommonModule: {
          sopInstanceUID: sop_instance_uid,
          sopClassUID: dataset.SOPClassUID,
        },
        imagePixelModule: { rows, columns, bitsAllocated: 16, samplesPerPixel: 1 },
        frameNumber: frame,
      },
      sopInstanceUID: sop_instance_uid,
      frame,
      index,
    };
  });
  const byId = new Map(images.map((image) => [image.imageId, image.modules]));
  const provide = (type, imageId) => byId.get(imageId)?.[type];
  metaData.addProvider(provide, 10000);
  const imageIds = images.map((image) => image.imageId);
  const inOwnOrder = [...images].sort((a, b) => a.index - b.index);

  async function readSegmentation(path) {
    const { buffer } = readNaturalized(path);
    const { labelMapImages, segMetadata } =
      await adaptersSEG.Cornerstone3D.Segmentation.createFromDICOMSegBuffer(
        imageIds, buffer, { metadataProvider: metaData, tolerance: 0.001 });
    const segments = [];
    segMetadata.data.forEach((segment, index) => {
      if (!segment) return;
      const number = Number(segment.SegmentNumber ?? index);
      const hash = createHash('sha256');
      let voxels = 0;
      for (const { imageId, modules } of inOwnOrder) {
        const size = modules.instance.Rows * modules.instance.Columns;
        const mask = Buffer.alloc(size);
        for (const group of labelMapImages) {
          const image = group.find((one) => one.referencedImageId === imageId);
          if (!image) continue;
          const pixels = image.voxelManager.getScalarData();
          for (let i = 0; i < size; i++) if (pixels[i] === number) mask[i] = 1;
        }
        voxels += mask.reduce((sum, value) => sum + value, 0);
        hash.update(mask);
      }
      segments.push({
        number,
        label: segment.SegmentLabel,
        colour: numbers(segment.RecommendedDisplayCIELabValue ?? []),
        tracking_uid: segment.TrackingUID,
        voxels,
        sha256: hash.digest('hex'),
      });
    });
    return segments;
  }

  function readReport(path) {
    const { dataset } = readNaturalized(path);
    const map = Object.fromEntries(images.map(
      (image) => [`${image.sopInstanceUID}:${image.frame}`, image.imageId]));
    const found = adaptersSR.Cornerstone3D.MeasurementReport.generateToolState(
      dataset, map, metaData);
    return Object.entries(found).flatMap(([tool, states]) =>
      states.map((state) => ({
        tool,
        label: state.annotation.data.label,
        tracking_uid: state.TrackingUniqueIdentifier,
        sop_instance_uid: state.sopInstanceUid,
        frame: state.annotation.data.frameNumber ?? 1,
      })));
  }

  const answer = { segmentations: [], reports: [] };
  try {
    for (const path of request.segmentations) {
      answer.segmentations.push(await readSegmentation(path));
    }
    for (const path of request.reports) answer.reports.push(readReport(path));
  } finally {
    metaData.removeProvider(provide);
    cache.purgeCache();
  }
  return answer;
}

const answers = [];
for (const request of JSON.parse(readFileSync(process.argv[2], 'utf8'))) {
  answers.push(await answerTo(request));
}
log(JSON.stringify(answers));
