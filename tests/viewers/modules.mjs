// Run the page's own functions on cases, outside a browser. The cases come as JSON on
// standard input, what the functions answer goes as JSON to standard output.
//
// cases: {parse: [path], cut: [{text, spans}], runs: [{bitmap, columns}], lines: [{rows, columns, from, to, radius}],
//         windows: [{centre, width, voi, low, high}], texts: [text]}
import fs from 'node:fs';
import vm from 'node:vm';

const pages = new URL('../../dicom_node/web/static/', import.meta.url);
const cases = JSON.parse(fs.readFileSync(0, 'utf8'));
const { cutAtSpans } = await import(new URL('view/spans.js', pages));
const { fromRuns, toRuns } = await import(new URL('view/masks.js', pages));
const { paintLine } = await import(new URL('view/edit.js', pages));
const { visible } = await import(new URL('common/dom.js', pages));
const { lookupTable } = await import(new URL('view/pixels.js', pages));

const answer = {
  // What cannot be parsed, and why.
  parse: (cases.parse ?? []).flatMap(file => {
    try {
      new vm.SourceTextModule(fs.readFileSync(file, 'utf8'), { identifier: file });
      return [];
    } catch (error) {
      return [`${file}: ${error}`];
    }
  }),
  cut: (cases.cut ?? []).map(({ text, spans }) =>
    cutAtSpans(text, spans.map((span, index) => ({ index, span })))),
  runs: (cases.runs ?? []).map(({ bitmap, columns }) => {
    const runs = toRuns(Uint8Array.from(bitmap), columns);
    return { runs, back: [...fromRuns(runs, bitmap.length)] };
  }),
  lines: (cases.lines ?? []).map(({ rows, columns, from, to, radius }) => {
    const bitmap = new Uint8Array(rows * columns);
    paintLine(bitmap, rows, columns, { from, to, radius, value: 1 });
    return [...bitmap];
  }),
  texts: (cases.texts ?? []).map(visible),
  windows: (cases.windows ?? []).map(({ centre, width, voi, low, high }) =>
    [...lookupTable({ centre, width, voi, isInverted: false }, low, high)].map(pixel => pixel & 0xff)),
};
process.stdout.write(JSON.stringify(answer));
