// Rows of several stages at a time, on several threads: the next stage starts on the first rows while the one before it
// still works on later ones, so that maps between stages need a few rows of memory, and stay in the cache.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace rfdn {

// Threads that run the same function at the same time, the caller being the first of them.
class Team {
 public:
  explicit Team(int size);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return static_cast<int>(threads_.size()) + 1; }
  void run(const std::function<void(int worker)>& work);

 private:
  void serve(int worker);

  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  const std::function<void(int)>* work_ = nullptr;
  long round_ = 0;
  int busy_ = 0;
  bool over_ = false;
  std::vector<std::thread> threads_;
};

// A stage reads rows row - reach .. row + reach of an earlier stage, which keeps its last `kept` rows (0 = all).
struct Need {
  int stage, reach, kept;
};

struct Stage {
  std::function<void(int row, int worker)> work;
  std::vector<Need> needs;
};

// Runs all rows of all stages.
void run(const std::vector<Stage>& stages, int rows, Team& team);

// Runs one function over rows that do not depend on each other.
void run(const std::function<void(int row, int worker)>& work, int rows, Team& team);

// How many rows of tiles a stage must keep, so that `threads` find work, where the next reader is `steps` stages on.
inline int rows_to_keep(int steps, int threads) { return 2 * steps + 2 + threads; }

}  // namespace rfdn
