#include "schedule.hpp"

#include <algorithm>
#include <system_error>

namespace rfdn {

Team::Team(int size) {
  try {
    for (int worker = 1; worker < size; worker++) threads_.emplace_back([this, worker] { serve(worker); });
  } catch (const std::system_error&) {
    // The system has no more threads: those that there are do the work.
  }
}

Team::~Team() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    over_ = true;
  }
  wake_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void Team::run(const std::function<void(int worker)>& work) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    work_ = &work;
    busy_ = size() - 1;
    round_++;
  }
  wake_.notify_all();
  work(0);
  std::unique_lock<std::mutex> lock(mutex_);
  idle_.wait(lock, [&] { return busy_ == 0; });
}

void Team::serve(int worker) {
  long seen = 0;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return over_ || round_ != seen; });
    if (over_) return;
    seen = round_;
    lock.unlock();
    (*work_)(worker);
    lock.lock();
    if (--busy_ == 0) idle_.notify_one();
  }
}

namespace {

// Which rows of which stages are begun and done. All of it under one lock: rows take a hundred microseconds or more.
class Progress {
 public:
  Progress(const std::vector<Stage>& stages, int rows) : stages_(stages), rows_(rows), of_(stages.size()) {
    for (auto& stage : of_) stage.is_done.assign(rows, false);
  }

  // The next row to work on: of the last stage that has one ready, so that what was just made is used while it is in
  // the cache. Waits where none is ready; false when all are begun.
  bool take(int& stage, int& row) {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      bool all_begun = true;
      for (stage = static_cast<int>(stages_.size()) - 1; stage >= 0; stage--) {
        row = of_[stage].begun;
        all_begun = all_begun && row == rows_;
        if (row < rows_ && ready(stage, row)) {
          of_[stage].begun++;
          return true;
        }
      }
      if (all_begun) return false;
      changed_.wait(lock);
    }
  }

  void finish(int stage, int row) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      auto& of = of_[stage];
      of.is_done[row] = true;
      while (of.done < rows_ && of.is_done[of.done]) of.done++;
    }
    changed_.notify_all();
  }

 private:
  struct State {
    int begun = 0, done = 0;  // rows before these
    std::vector<bool> is_done;
  };

  bool ready(int stage, int row) const {
    for (const auto& need : stages_[stage].needs)
      if (of_[need.stage].done < std::min(rows_, row + need.reach + 1)) return false;
    // What this row would overwrite must have been read.
    for (std::size_t reader = 0; reader < stages_.size(); reader++)
      for (const auto& need : stages_[reader].needs)
        if (need.stage == stage && need.kept && row >= need.kept &&
            of_[reader].done <= std::min(rows_ - 1, row - need.kept + need.reach))
          return false;
    return true;
  }

  const std::vector<Stage>& stages_;
  const int rows_;
  std::vector<State> of_;
  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace

void run(const std::vector<Stage>& stages, int rows, Team& team) {
  Progress progress(stages, rows);
  team.run([&](int worker) {
    for (int stage, row; progress.take(stage, row);) {
      stages[stage].work(row, worker);
      progress.finish(stage, row);
    }
  });
}

void run(const std::function<void(int row, int worker)>& work, int rows, Team& team) {
  run(std::vector<Stage>{{work, {}}}, rows, team);
}

}  // namespace rfdn
