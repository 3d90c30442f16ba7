import fc from 'fast-check';

// In CI one seed, so that a run can be repeated; elsewhere every run explores. A failure prints its seed and path.
if (process.env.CI !== undefined) fc.configureGlobal({ seed: 20_261_122 });
