/**
 * What the node says of a study: the shapes of GET /studies/{uid}.
 *
 * @typedef {object} Box
 * @property {number} frame from 0, in the series' order
 * @property {[number, number, number, number]} xyxy pixels; pixel (0, 0) covers [0, 1)
 * @property {number} score
 *
 * @typedef {object} Correction
 * @property {'accept' | 'reject' | 'redraw'} action
 * @property {string} person
 * @property {string} at
 * @property {string} comment
 *
 * @typedef {object} Region
 * @property {string} tracking_uid
 * @property {number} series
 * @property {string} colour
 * @property {number | null} score
 * @property {number | null} uncertainty
 * @property {number} first_frame
 * @property {number} best_frame
 * @property {number} last_frame
 * @property {Box[]} boxes
 * @property {{sop_instance_uid: string, segment_number: number} | null} segment
 * @property {Correction | null} correction
 *
 * @typedef {{scheme: string, value: string, meaning: string}} Code
 *
 * @typedef {object} Phrase
 * @property {number} index
 * @property {string} text
 * @property {string} source
 * @property {[number, number] | null} span in code points of the report's text
 * @property {string | null} section
 * @property {'present' | 'uncertain' | 'absent'} status
 * @property {boolean} is_stated
 * @property {Code} code
 * @property {Code | null} site
 * @property {string | null} laterality
 * @property {number | null} score
 * @property {number | null} uncertainty
 * @property {Region[]} regions
 *
 * @typedef {object} Report
 * @property {string} source
 * @property {string | null} channel
 * @property {string | null} status
 * @property {string} text
 * @property {string | null} received_at
 * @property {boolean} is_current
 * @property {boolean} is_prior
 * @property {string | null} study_date
 *
 * @typedef {object} Series
 * @property {number} index
 * @property {string} series_instance_uid
 * @property {number} stack_number
 * @property {string} modality
 * @property {string} description
 * @property {string | null} body_part
 * @property {number} frames
 * @property {number} rows
 * @property {number} columns
 * @property {boolean} is_colour
 * @property {[number, number] | null} pixel_spacing_mm
 * @property {{left: string, right: string, top: string, bottom: string} | null} sides
 * @property {number} pixel_aspect height of a pixel by its width
 * @property {{name: string, centre: number, width: number, function: 'LINEAR' | 'LINEAR_EXACT' | 'SIGMOID'}[]} windows
 * @property {'int16' | 'uint8' | 'rgb8'} dtype
 * @property {number} slope a value of a frame, times this, plus the intercept, is the modality's
 * @property {number} intercept
 *
 * @typedef {object} Version
 * @property {string} content_version
 * @property {string} state
 * @property {string | null} reason
 * @property {boolean} is_latest
 * @property {boolean} has_result
 * @property {number} corrected_regions that stay with this version
 *
 * @typedef {object} Detail
 * @property {any} study
 * @property {string | null} shown_version whose results these are
 * @property {string | null} shown_results their name: another run of the same content has another
 * @property {Version[]} versions
 * @property {Report[]} reports
 * @property {Phrase[]} phrases
 * @property {Series[]} series
 * @property {{series_instance_uid: string, reason: string}[]} not_processed
 * @property {{name: string, version: string, sha256: string} | null} model
 * @property {string} warning
 * @property {any[]} objects
 * @property {any[]} deliveries
 * @property {any[]} events
 */

export {};
