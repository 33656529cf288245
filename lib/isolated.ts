// The app's callbacks: what they throw is the app's, and stops nobody else.

/** Runs what belongs to the user. What it throws surfaces as an uncaught exception, outside of what we are doing. */
export function isolated(run: () => unknown): void {
  try {
    run()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}
