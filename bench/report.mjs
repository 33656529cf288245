// Tables of what was measured.
import { MEASURES } from './workloads.mjs'

/** Markdown: a table for each kind of workload, a row for each measure. */
export function markdown({ about, clients, results }) {
  const lines = [
    '# custom-authorizer-connect beside its peers',
    '',
    ...Object.entries(about).map(([name, value]) => `- ${name}: ${value}`),
    '',
    'Medians; the last column is ours to the best peer, of two ours the better. The engine alone is ours without',
    'JavaScript, TLS alone is rustls without MQTT: what a message has to cost at the least.',
    'For a rate more is better, for everything else less.',
  ]
  const kinds = [...new Set(results.map(({ kind }) => kind))]
  for (const kind of kinds) {
    const ofKind = results.filter((each) => each.kind === kind)
    const measured = clients.filter((client) => ofKind.some(({ medians }) => client in medians))
    lines.push('', `## ${kind}`, '')
    lines.push(`| workload | measure | ${measured.join(' | ')} | ours : best peer |`)
    lines.push(`| --- | --- |${' ---: |'.repeat(measured.length + 1)}`)
    for (const result of ofKind) {
      for (const measure of MEASURES[kind]) {
        const cells = measured.map((client) => figure(result.medians[client]?.[measure.key]))
        const unit = measure.unit === '' ? '' : `, ${measure.unit}`
        const ratio = ratioText(result.ratios[measure.key])
        lines.push(`| ${result.title} | ${measure.name}${unit} | ${cells.join(' | ')} | ${ratio} |`)
      }
    }
  }
  return `${lines.join('\n')}\n`
}

/** Three digits that matter. */
export function figure(value) {
  if (value === undefined || Number.isNaN(value)) return '–'
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en')
  return String(Number(value.toPrecision(3)))
}

/** How many times less, or more. */
export function ratioText(ratio) {
  if (ratio === undefined || !Number.isFinite(ratio) || ratio <= 0) return '–'
  return ratio >= 1 ? `${figure(ratio)}` : `1/${figure(1 / ratio)}`
}
