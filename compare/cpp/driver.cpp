// Trees of index-microbench under the phases of `bwtree-compare index`: one tree, one round, one
// line of JSON.
//
// Takes the arguments of `bwtree-compare cell` and prints what that prints. Keys, the order of
// their use, the phases and the checks are those of compare/src/index and compare/src/random.rs, of
// which this is a translation; README.md tells what differs. What is included is a checkout of
// theirs.

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ARTOLC/Tree.h"
#include "BTreeOLC/BTreeOLC.h"
#include "BwTree/bwtree.h"

namespace {

using Clock = std::chrono::steady_clock;

// ---- random numbers: compare/src/random.rs ----

uint64_t mix(uint64_t n) {
    uint64_t z = n;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

class Random {
  public:
    explicit Random(uint64_t seed) : state(seed) {}

    uint64_t next() {
        state += 0x9e3779b97f4a7c15;
        return mix(state);
    }

    uint64_t below(uint64_t limit) {
        return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * limit) >> 64);
    }

    double unit() { return static_cast<double>(next() >> 11) / static_cast<double>(1ull << 53); }

  private:
    uint64_t state;
};

class Zipf {
  public:
    explicit Zipf(uint64_t count) : count(count), zeta(zeta_of(count)) {
        double below = 1.0 - std::pow(2.0 / static_cast<double>(count), 1.0 - THETA);
        eta = below / (1.0 - zeta_of_two() / zeta);
    }

    uint64_t scrambled(Random &random) const { return mix(rank(random) ^ 0x5bd1e995) % count; }

  private:
    static constexpr double THETA = 0.99;
    uint64_t count;
    double zeta;
    double eta;

    static double zeta_of_two() { return 1.0 + std::pow(0.5, THETA); }

    static double zeta_of(uint64_t count) {
        constexpr uint64_t TERMS = 10000;
        double head = 0;
        for (uint64_t n = 1; n <= std::min(count, TERMS); n++) head += std::pow(n, -THETA);
        if (count <= TERMS) return head;
        auto whole = [](double x) { return std::pow(x, 1.0 - THETA) / (1.0 - THETA); };
        return head + whole(static_cast<double>(count) + 0.5) - whole(TERMS + 0.5);
    }

    uint64_t rank(Random &random) const {
        double u = random.unit();
        double scaled = u * zeta;
        if (scaled < 1.0) return 0;
        if (scaled < zeta_of_two()) return 1;
        double base = eta * u - eta + 1.0;
        double rank = static_cast<double>(count) * std::pow(base, 1.0 / (1.0 - THETA));
        return std::min(static_cast<uint64_t>(rank), count - 1);
    }
};

// ---- values: compare/src/values.rs ----

constexpr unsigned NUMBER_BITS = 40;
/// What no value is.
constexpr uint64_t ABSENT = ~0ull;

uint64_t value_of(uint64_t number, uint64_t version) {
    return number | (version & 0xfffff) << NUMBER_BITS;
}

uint64_t number_of(uint64_t value) { return value & ((1ull << NUMBER_BITS) - 1); }

void keep(uint64_t value) { asm volatile("" : : "r"(value) : "memory"); }

/// All keys by their numbers: for trees that give values only, or store no keys.
const uint64_t *all_keys = nullptr;

// ---- the trees ----

/// B-tree with optimistic lock coupling. It has no removal, and scans one leaf at a time.
class BTreeOlc {
  public:
    static constexpr bool REMOVES = false;

    void phase(size_t) {}

    struct Handle {
        BTreeOlc &of;
        Handle(BTreeOlc &of, size_t) : of(of) {}

        void insert(uint64_t key, uint64_t value) { of.tree.insert(key, value); }
        void update(uint64_t key, uint64_t value) { of.tree.insert(key, value); }
        bool remove(uint64_t) { return false; }

        uint64_t get(uint64_t key) {
            // What `lookup` returns is left uninitialised for a key that is not there.
            uint64_t value = ABSENT;
            of.tree.lookup(key, value);
            return value;
        }

        template <class See> void scan(uint64_t from, size_t count, See see) {
            uint64_t values[MOST];
            while (count > 0) {
                uint64_t given = of.tree.scan(from, std::min(count, MOST), values);
                if (given == 0) return;
                for (uint64_t at = 0; at < given; at++) see(values[at]);
                count -= given;
                from = all_keys[number_of(values[given - 1])] + 1;
                if (from == 0) return;
            }
        }
    };

  private:
    static constexpr size_t MOST = 256;
    btreeolc::BTree<uint64_t, uint64_t> tree;
};

/// Radix tree with optimistic lock coupling. It stores no keys: a value must tell its key, from
/// which it is read again where a path was cut short.
class ArtOlc {
  public:
    static constexpr bool REMOVES = true;

    ArtOlc() : tree(load_key) {}
    void phase(size_t) {}

    struct Handle {
        ArtOlc &of;
        ART::ThreadInfo info;
        Handle(ArtOlc &of, size_t) : of(of), info(of.tree.getThreadInfo()) {}

        void insert(uint64_t key, uint64_t value) {
            Key bytes(key);
            of.tree.insert(bytes, value | MARK, info);
        }
        void update(uint64_t key, uint64_t value) { insert(key, value); }

        uint64_t get(uint64_t key) {
            Key bytes(key);
            TID found = of.tree.lookup(bytes, info);
            return found == 0 ? ABSENT : found & ~MARK;
        }

        /// A removal must name the value, and does not say whether it was there.
        bool remove(uint64_t key) {
            uint64_t value = get(key);
            if (value == ABSENT) return false;
            Key bytes(key);
            of.tree.remove(bytes, value | MARK, info);
            return true;
        }

        template <class See> void scan(uint64_t from, size_t count, See see) {
            static thread_local std::vector<TID> values;
            values.resize(std::max(values.size(), count));
            Key start(from), end(~0ull), next;
            size_t given = 0;
            of.tree.lookupRange(start, end, next, values.data(), count, given, info);
            for (size_t at = 0; at < given; at++) see(values[at] & ~MARK);
        }
    };

  private:
    /// Tells the value of number 0 from none.
    static constexpr uint64_t MARK = 1ull << 62;
    ART_OLC::Tree tree;

    static void load_key(TID value, Key &key) {
        key.setInt(all_keys[number_of(value & ~MARK)]);
    }
};

/// OpenBw-Tree, with its own thread for epochs.
class OpenBwTree {
  public:
    static constexpr bool REMOVES = true;

    OpenBwTree() {
        tree.UpdateThreadLocal(1);
        tree.AssignGCID(0);
    }

    /// The slots of its garbage collection, before threads start.
    void phase(size_t threads) { tree.UpdateThreadLocal(threads); }

    struct Handle {
        OpenBwTree &of;
        size_t thread;
        std::vector<uint64_t> found;

        Handle(OpenBwTree &of, size_t thread) : of(of), thread(thread) {
            of.tree.AssignGCID(static_cast<int>(thread));
        }
        ~Handle() { of.tree.UnregisterThread(static_cast<int>(thread)); }

        void insert(uint64_t key, uint64_t value) { of.tree.Insert(key, value); }
        void update(uint64_t key, uint64_t value) { of.tree.Upsert(key, value); }
        /// The value is not looked at: keys are unique.
        bool remove(uint64_t key) { return of.tree.Delete(key, 0); }

        uint64_t get(uint64_t key) {
            found.clear();
            of.tree.GetValue(key, found);
            return found.empty() ? ABSENT : found[0];
        }

        template <class See> void scan(uint64_t from, size_t count, See see) {
            for (auto at = of.tree.Begin(from); count > 0 && !at.IsEnd(); ++at, --count) {
                keep(at->first);
                see(at->second);
            }
        }
    };

  private:
    wangziqi2013::bwtree::BwTree<uint64_t, uint64_t> tree;
};

// ---- what is prepared: compare/src/index/prepare.rs ----

struct Options {
    std::string peer, keys = "random";
    size_t value = 8, size = 1000000, threads = 2, round = 0;
    double seconds = 1.0;
    std::vector<std::string> phases;

    bool has(std::initializer_list<const char *> wanted) const {
        return std::any_of(wanted.begin(), wanted.end(), [this](const char *phase) {
            return std::find(phases.begin(), phases.end(), phase) != phases.end();
        });
    }
};

struct Accesses {
    std::vector<uint64_t> keys;
    std::vector<uint32_t> numbers;

    template <class Draw> void fill(const std::vector<uint64_t> &all, size_t count, Draw draw) {
        numbers.resize(count);
        for (uint32_t &number : numbers) number = static_cast<uint32_t>(draw());
        keys.resize(count);
        for (size_t at = 0; at < count; at++) keys[at] = all[numbers[at]];
    }
};

struct Work {
    std::vector<uint64_t> keys;
    size_t size, threads, scan_inserts = 0, churn_inserts = 0;
    Accesses uniform, zipf, hot;
    uint64_t seed;

    explicit Work(const Options &options) : size(options.size), threads(options.threads) {
        constexpr size_t MAX_ACCESSES = 16 << 20, HOT_KEYS = 100, HOT_ACCESSES = 1 << 16;
        if (options.has({"e"})) {
            scan_inserts = static_cast<size_t>(options.seconds * 400000.0) + 1000;
        }
        if (options.has({"churn"})) {
            churn_inserts = std::clamp(size, size_t{10000}, MAX_ACCESSES) / threads + 1;
        }
        keys.resize(size + (scan_inserts + churn_inserts) * threads);
        for (size_t number = 0; number < keys.size(); number++) keys[number] = mix(number);
        all_keys = keys.data();
        seed = options.round * 1000;
        size_t count = std::clamp(2 * size, size_t{1} << 16, MAX_ACCESSES);
        Random random(seed);
        if (options.has({"read", "a", "e", "latency"})) {
            uniform.fill(keys, count, [&] { return random.below(size); });
        }
        if (options.has({"zipf"})) {
            Zipf ranks(size);
            zipf.fill(keys, count, [&] { return ranks.scrambled(random); });
        }
        if (options.has({"hot"})) {
            std::vector<uint32_t> order(size);
            for (size_t number = 0; number < size; number++) order[number] = number;
            std::sort(order.begin(), order.end(),
                      [this](uint32_t a, uint32_t b) { return keys[a] < keys[b]; });
            size_t start = size > HOT_KEYS ? (size - HOT_KEYS) / 2 : 0;
            size_t most = std::min(HOT_KEYS, size);
            hot.fill(keys, std::min(count, HOT_ACCESSES),
                     [&] { return order[start + random.below(most)]; });
        }
    }

    size_t queue(size_t thread) const { return (size + threads - 1 - thread) / threads; }

    size_t queued(size_t thread, size_t at) const {
        size_t loaded = queue(thread);
        at %= loaded + churn_inserts;
        if (at < loaded) return thread + at * threads;
        return size + scan_inserts * threads + thread + (at - loaded) * threads;
    }
};

class Walk {
  public:
    Walk(const Accesses &accesses, size_t thread, size_t threads)
        : accesses(accesses), at(accesses.numbers.size() / threads * thread) {}

    std::pair<uint64_t, uint64_t> next() {
        if (at == accesses.numbers.size()) at = 0;
        size_t now = at++;
        return {accesses.keys[now], accesses.numbers[now]};
    }

  private:
    const Accesses &accesses;
    size_t at;
};

// ---- the phases: compare/src/index/phases.rs ----

constexpr size_t BATCH = 64;
constexpr size_t TIMED = 4;

struct Tally {
    uint64_t operations = 0, wrong = 0, added = 0, asked = 0, given = 0;
    std::vector<uint32_t> gets, updates;

    void expect(bool right) { wrong += !right; }
};

struct Deadline {
    Clock::time_point end;
    bool first = true;

    bool more() { return std::exchange(first, false) || Clock::now() < end; }
};

bool holds(uint64_t found, uint64_t number) {
    keep(found);
    return found != ABSENT && number_of(found) == number;
}

uint64_t turned(uint64_t bits) { return bits >> 1 | bits << 63; }

template <class Handle> struct Phases {
    const Work &work;
    size_t thread;
    Handle &handle;
    Deadline until;

    Tally load() {
        Tally tally;
        for (size_t number = thread; number < work.size; number += work.threads) {
            handle.insert(work.keys[number], value_of(number, 0));
            tally.operations++;
        }
        tally.added = tally.operations;
        return tally;
    }

    Tally reads(const Accesses &accesses) {
        Walk walk(accesses, thread, work.threads);
        Tally tally;
        while (until.more()) {
            for (size_t at = 0; at < BATCH; at++) {
                auto [key, number] = walk.next();
                tally.expect(holds(handle.get(key), number));
            }
            tally.operations += BATCH;
        }
        return tally;
    }

    Tally updates(const Accesses &accesses) {
        Walk walk(accesses, thread, work.threads);
        Random random(work.seed + thread);
        Tally tally;
        while (until.more()) {
            uint64_t bits = random.next();
            for (size_t at = 0; at < BATCH; at++) {
                auto [key, number] = walk.next();
                if ((bits & 1) == 0) {
                    handle.update(key, value_of(number, bits));
                } else {
                    tally.expect(holds(handle.get(key), number));
                }
                bits = turned(bits);
            }
            tally.operations += BATCH;
        }
        return tally;
    }

    Tally latency() {
        Walk walk(work.uniform, thread, work.threads);
        Random random(work.seed + 500 + thread);
        Tally tally;
        while (until.more()) {
            uint64_t bits = random.next();
            for (size_t at = 0; at < BATCH; at++) {
                auto [key, number] = walk.next();
                bool update = (bits & 1) == 0, timed = at % TIMED == 0, right = true;
                auto start = timed ? Clock::now() : Clock::time_point();
                if (update) {
                    handle.update(key, value_of(number, bits));
                } else {
                    right = holds(handle.get(key), number);
                }
                if (timed) {
                    uint64_t took = std::chrono::nanoseconds(Clock::now() - start).count();
                    uint32_t most = std::numeric_limits<uint32_t>::max();
                    (update ? tally.updates : tally.gets).push_back(std::min<uint64_t>(took, most));
                }
                tally.expect(right);
                bits = turned(bits);
            }
            tally.operations += BATCH;
        }
        return tally;
    }

    Tally scans() {
        Walk walk(work.uniform, thread, work.threads);
        Random random(work.seed + 100 + thread);
        size_t next = work.size + thread * work.scan_inserts, end = next + work.scan_inserts;
        Tally tally;
        while (until.more()) {
            for (size_t at = 0; at < BATCH / 4; at++) {
                uint64_t draw = random.below(2000);
                if (draw < 100 && next < end) {
                    handle.insert(work.keys[next], value_of(next, 0));
                    next++;
                    tally.added++;
                    continue;
                }
                auto [key, number] = walk.next();
                uint64_t count = draw % 100 + 1, given = 0, first = ABSENT;
                handle.scan(key, count, [&](uint64_t value) {
                    keep(value);
                    if (given++ == 0) first = number_of(value);
                });
                tally.expect(first == number && given <= count);
                tally.asked += count;
                tally.given += given;
            }
            tally.operations += BATCH / 4;
        }
        return tally;
    }

    Tally churn() {
        size_t head = work.queue(thread), tail = 0;
        Tally tally;
        while (until.more()) {
            for (size_t at = 0; at < BATCH / 2; at++, head++, tail++) {
                size_t number = work.queued(thread, head);
                handle.insert(work.keys[number], value_of(number, 0));
                tally.expect(handle.remove(work.keys[work.queued(thread, tail)]));
            }
            tally.operations += BATCH;
        }
        return tally;
    }

    Tally run(const std::string &phase) {
        if (phase == "load") return load();
        if (phase == "read") return reads(work.uniform);
        if (phase == "zipf") return reads(work.zipf);
        if (phase == "a") return updates(work.uniform);
        if (phase == "hot") return updates(work.hot);
        if (phase == "latency") return latency();
        if (phase == "e") return scans();
        return churn();
    }
};

// ---- one measurement: compare/src/index/cell.rs ----

struct Failed {
    std::string why;
};

size_t resident_bytes() {
    std::ifstream facts("/proc/self/statm");
    size_t whole = 0, resident = 0;
    facts >> whole >> resident;
    return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

double processor_seconds() {
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    auto seconds = [](const timeval &time) { return time.tv_sec + time.tv_usec * 1e-6; };
    return seconds(used.ru_utime) + seconds(used.ru_stime);
}

/// The phases that there are, in their order; `multi` is not one of these trees'.
constexpr const char *ORDER[] = {"load", "read", "zipf", "a", "hot", "latency", "e", "churn"};

struct Result {
    std::map<std::string, double> mops, share;
    std::map<std::string, std::string> wrong;
    std::string gets = "null", updates = "null";
    double resident = 0;
};

template <class Tree> class Run {
  public:
    explicit Run(const Options &options) : options(options), work(options) {}

    Result measure() {
        size_t before = resident_bytes();
        tree = std::make_unique<Tree>();
        phase("load");
        result.resident = static_cast<double>(resident_bytes() - before) / work.size;
        {
            tree->phase(1);
            typename Tree::Handle handle(*tree, 0);
            check_gets(handle);
            check_all(handle);
            std::string wrong = check_scans(handle);
            if (!wrong.empty()) result.wrong["e"] = wrong;
        }
        for (const char *name : ORDER) {
            bool removes = name == std::string("churn");
            if (options.has({name}) && name != std::string("load") && (Tree::REMOVES || !removes)) {
                phase(name);
            }
        }
        tree->phase(1);
        typename Tree::Handle handle(*tree, 0);
        try {
            check_all(handle);
        } catch (const Failed &failed) {
            result.wrong["at the end"] = failed.why;
        }
        return result;
    }

    /// Trees are not torn down: what that does is no part of what is measured.
    void leave() { tree.release(); }

  private:
    const Options &options;
    Work work;
    std::unique_ptr<Tree> tree;
    Result result;
    uint64_t added = 0;

    void phase(const std::string &name) {
        size_t threads = work.threads;
        tree->phase(threads);
        std::barrier<> barrier(static_cast<std::ptrdiff_t>(threads));
        std::vector<Tally> tallies(threads);
        std::vector<Clock::time_point> starts(threads), ends(threads);
        double before = processor_seconds();
        auto span = std::chrono::duration_cast<Clock::duration>(
            std::chrono::duration<double>(options.seconds));
        std::vector<std::thread> running;
        for (size_t thread = 0; thread < threads; thread++) {
            running.emplace_back([&, thread] {
                typename Tree::Handle handle(*tree, thread);
                barrier.arrive_and_wait();
                starts[thread] = Clock::now();
                Phases<typename Tree::Handle> body{work, thread, handle, {starts[thread] + span}};
                tallies[thread] = body.run(name);
                ends[thread] = Clock::now();
            });
        }
        for (std::thread &thread : running) thread.join();
        auto took = *std::max_element(ends.begin(), ends.end()) -
                    *std::min_element(starts.begin(), starts.end());
        settle(name, tallies, std::chrono::duration<double>(took).count(), before);
    }

    void settle(const std::string &name, std::vector<Tally> &tallies, double took, double before) {
        Tally sum;
        for (Tally &tally : tallies) {
            sum.operations += tally.operations;
            sum.wrong += tally.wrong;
            sum.asked += tally.asked;
            sum.given += tally.given;
            added += tally.added;
            sum.gets.insert(sum.gets.end(), tally.gets.begin(), tally.gets.end());
            sum.updates.insert(sum.updates.end(), tally.updates.begin(), tally.updates.end());
        }
        // Scans that begin near the last key are short, and no others.
        double allowed = sum.asked * (100.0 / work.size + 0.005);
        if (sum.wrong > 0) {
            result.wrong[name] = std::to_string(sum.wrong) + " wrong answers in " +
                                 std::to_string(sum.operations) + " operations";
        } else if (static_cast<double>(sum.asked - sum.given) > allowed) {
            result.wrong[name] = std::to_string(sum.given) + " entries of " +
                                 std::to_string(sum.asked) + " asked for";
        }
        if (name == "latency") {
            result.gets = percentiles(sum.gets);
            result.updates = percentiles(sum.updates);
            return;
        }
        result.mops[name] = sum.operations / took / 1e6;
        double cores = std::min<double>(work.threads, std::thread::hardware_concurrency());
        result.share[name] = (processor_seconds() - before) / (cores * took);
    }

    static std::string percentiles(std::vector<uint32_t> &times) {
        if (times.empty()) return "null";
        std::sort(times.begin(), times.end());
        auto at = [&](double quantile) {
            return std::to_string(times[static_cast<size_t>(quantile * (times.size() - 1))]);
        };
        return "{\"p50\":" + at(0.5) + ",\"p99\":" + at(0.99) + ",\"p999\":" + at(0.999) +
               ",\"max\":" + at(1.0) + ",\"samples\":" + std::to_string(times.size()) + "}";
    }

    template <class Handle> void check_gets(Handle &handle) {
        for (size_t number = 0; number < work.size; number += work.size / 20000 + 1) {
            if (handle.get(work.keys[number]) != value_of(number, 0)) {
                throw Failed{"key " + std::to_string(number) + " does not have what was put"};
            }
        }
        for (size_t number = work.size; number < work.keys.size(); number++) {
            if (number == work.size + 1000) break;
            if (handle.get(work.keys[number]) != ABSENT) {
                throw Failed{"key " + std::to_string(number) + " was never put and is there"};
            }
        }
    }

    /// Scans over everything, each from the last key of the one before, for from a key that is not
    /// there art-olc may begin with a lower one: each key once, in order, and none missing.
    template <class Handle> void check_all(Handle &handle) {
        uint64_t given = 0, last = 0;
        for (bool more = true; more;) {
            uint64_t before = given;
            bool again = given > 0;
            handle.scan(last, 1000, [&](uint64_t value) {
                uint64_t number = number_of(value);
                if (number >= work.keys.size()) throw Failed{"in a scan of all: no such value"};
                uint64_t key = work.keys[number];
                if (std::exchange(again, false) && key == last) return;
                if (given > 0 && key <= last) throw Failed{"in a scan of all: keys do not rise"};
                last = key;
                given++;
            });
            more = given > before;
        }
        if (given != added) {
            throw Failed{std::to_string(given) + " entries in a scan of all, of " +
                         std::to_string(added)};
        }
    }

    template <class Handle> std::string check_scans(Handle &handle) {
        size_t scan = 0, cut = 0;
        for (size_t number = 0; number < work.size; number += work.size / 500 + 1, scan++) {
            uint64_t from = work.keys[number], last = 0;
            size_t count = scan % 100 + 1, given = 0;
            bool right = true;
            handle.scan(from, count, [&](uint64_t value) {
                uint64_t key = work.keys[number_of(value)];
                right = right && (given == 0 ? key == from : key > last);
                last = key;
                given++;
            });
            if (!right) return "a scan begins with another key, or its keys do not rise";
            if (given > count) return "a scan gives more than was asked for";
            cut += given < count;
        }
        bool few = cut <= 500 * 100 / work.size + 10;
        return few ? "" : std::to_string(cut) + " scans are too short";
    }
};

// ---- the command line ----

std::string text(const std::string &plain) { return "\"" + plain + "\""; }

template <class Figures, class Shown> std::string object(const Figures &figures, Shown shown) {
    std::string out;
    for (const auto &[name, figure] : figures) {
        out += out.empty() ? '{' : ',';
        out += text(name) + ':' + shown(figure);
    }
    return out.empty() ? "{}" : out + '}';
}

std::string number(double figure) {
    std::ostringstream out;
    out.precision(12);
    out << figure;
    return out.str();
}

void print(const Options &options, const Result &result, const std::string &failed) {
    std::string line = "{\"peer\":" + text(options.peer) + ",\"keys\":" + text(options.keys) +
                       ",\"value_bytes\":" + std::to_string(options.value) +
                       ",\"size\":" + std::to_string(options.size) +
                       ",\"threads\":" + std::to_string(options.threads) +
                       ",\"round\":" + std::to_string(options.round) +
                       ",\"mops\":" + object(result.mops, number) +
                       ",\"processor_share\":" + object(result.share, number) +
                       ",\"gets\":" + result.gets + ",\"updates\":" + result.updates +
                       ",\"heap_bytes_per_key\":null" +
                       ",\"resident_bytes_per_key\":" + number(result.resident) +
                       ",\"wrong\":" + object(result.wrong, text) + ",\"refused\":null" +
                       ",\"failed\":" + (failed.empty() ? "null" : text(failed)) + "}";
    std::puts(line.c_str());
    std::fflush(stdout);
}

template <class Tree> void run(const Options &options) {
    Run<Tree> run(options);
    Result result;
    std::string failed;
    try {
        result = run.measure();
    } catch (const Failed &why) {
        failed = why.why;
    }
    run.leave();
    print(options, result, failed);
}

Options parsed(int count, char **words) {
    Options options;
    for (int at = 1; at + 1 < count; at += 2) {
        std::string name = words[at], word = words[at + 1];
        if (name == "--peer") options.peer = word;
        else if (name == "--keys") options.keys = word;
        else if (name == "--value") options.value = std::stoul(word);
        else if (name == "--size") options.size = std::stoul(word);
        else if (name == "--threads") options.threads = std::stoul(word);
        else if (name == "--round") options.round = std::stoul(word);
        else if (name == "--seconds") options.seconds = std::stod(word);
        else if (name == "--phases") {
            std::istringstream list(word);
            for (std::string phase; std::getline(list, phase, ',');) {
                options.phases.push_back(phase);
            }
        } else throw Failed{"no option " + name};
    }
    if (options.keys != "random" || options.value != 8) {
        throw Failed{"random keys and values of 8 bytes only"};
    }
    if (options.size == 0 || options.threads == 0) throw Failed{"sizes and threads begin at 1"};
    return options;
}

} // namespace

int main(int count, char **words) {
    try {
        Options options = parsed(count, words);
        if (options.peer == "btree-olc") run<BTreeOlc>(options);
        else if (options.peer == "art-olc") run<ArtOlc>(options);
        else if (options.peer == "openbwtree") run<OpenBwTree>(options);
        else throw Failed{"no peer " + options.peer + "; there are btree-olc, art-olc, openbwtree"};
    } catch (const Failed &failed) {
        std::fprintf(stderr, "driver: %s\n", failed.why.c_str());
        return 1;
    }
    // Their threads and destructors are not waited for.
    std::_Exit(0);
}
