//! What is read of an exposition.

use super::*;
use crate::telemetry::exposition::parse;

fn read(text: &str) -> Vec<GpuSample> {
    gpus(&parse(text.as_bytes()).families)
}

#[test]
fn every_field_of_every_gpu_is_read_in_its_unit() {
    let text = r#"# TYPE DCGM_FI_DEV_SM_CLOCK gauge
DCGM_FI_DEV_SM_CLOCK{gpu="1",UUID="GPU-a",device="nvidia1",modelName="H100",Hostname="h"} 1980
DCGM_FI_DEV_SM_CLOCK{gpu="0",UUID="GPU-b",device="nvidia0",modelName="H100",Hostname="h"} 345
# TYPE DCGM_FI_DEV_MEM_CLOCK gauge
DCGM_FI_DEV_MEM_CLOCK{gpu="1",UUID="GPU-a"} 2619
# TYPE DCGM_FI_DEV_GPU_TEMP gauge
DCGM_FI_DEV_GPU_TEMP{gpu="1",UUID="GPU-a"} 41
# TYPE DCGM_FI_DEV_POWER_USAGE gauge
DCGM_FI_DEV_POWER_USAGE{gpu="1",UUID="GPU-a"} 71.2345
# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="1",UUID="GPU-a"} 5123456789
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-a"} 97
# TYPE DCGM_FI_DEV_FB_USED gauge
DCGM_FI_DEV_FB_USED{gpu="1",UUID="GPU-a"} 1000
# TYPE DCGM_FI_DEV_FB_FREE gauge
DCGM_FI_DEV_FB_FREE{gpu="1",UUID="GPU-a"} 80000
"#;
    let idle = GpuSample {
        uuid: "GPU-b".into(),
        index: Some(0),
        name: Some("H100".into()),
        sm_clock_mhz: Some(345.0),
        ..GpuSample::default()
    };
    let busy = GpuSample {
        uuid: "GPU-a".into(),
        index: Some(1),
        name: Some("H100".into()),
        energy_mj: Some(5_123_456_789),
        power_mw: Some(71_235),
        power_kind: Some(PowerKind::Averaged),
        utilization_pct: Some(97.0),
        memory_used_mib: Some(1000.0),
        memory_total_mib: Some(81_000.0),
        temperature_c: Some(41.0),
        sm_clock_mhz: Some(1980.0),
        memory_clock_mhz: Some(2619.0),
        ..GpuSample::default()
    };
    assert_eq!(read(text), [idle, busy]);
}

#[test]
fn a_blank_is_unknown_and_never_a_number() {
    for blank in ["NaN", "-1", "2147483632", "140737488355328", "9223372036854775794"] {
        let text = format!("DCGM_FI_DEV_GPU_TEMP{{gpu=\"0\"}} {blank}\n");
        assert_eq!(read(&text).first().map(|gpu| gpu.temperature_c), Some(None), "{blank}");
    }
    let text = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu=\"0\"} 9223372036854775794\n";
    assert_eq!(read(text).first().map(|gpu| gpu.energy_mj), Some(None));
}

#[test]
fn mig_instances_are_one_gpu_whose_memory_is_added_up() {
    let text = r#"DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",GPU_I_ID="1"} 10
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",GPU_I_ID="2"} 20
DCGM_FI_DEV_FB_FREE{gpu="0",UUID="GPU-a",GPU_I_ID="1"} 100
DCGM_FI_DEV_FB_FREE{gpu="0",UUID="GPU-a",GPU_I_ID="2"} 200
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-a",GPU_I_ID="2"} 50
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-a",GPU_I_ID="1"} 300
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-a",GPU_I_ID="2"} 300
"#;
    let expected = GpuSample {
        uuid: "GPU-a".into(),
        index: Some(0),
        power_mw: Some(300_000),
        power_kind: Some(PowerKind::Averaged),
        memory_used_mib: Some(30.0),
        memory_total_mib: Some(330.0),
        ..GpuSample::default()
    };
    assert_eq!(read(text), [expected]);
}

#[test]
fn a_gpu_shared_by_containers_is_one_gpu() {
    let text = r#"DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",pod="x"} 10
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",pod="y"} 10
"#;
    let used: Vec<_> = read(text).iter().map(|gpu| gpu.memory_used_mib).collect();
    assert_eq!(used, [Some(10.0)]);
}

#[test]
fn instantaneous_power_is_preferred() {
    let text =
        "DCGM_FI_DEV_POWER_USAGE{gpu=\"0\"} 100\nDCGM_FI_DEV_POWER_USAGE_INSTANT{gpu=\"0\"} 90\n";
    assert_eq!(read(text).first().and_then(|gpu| gpu.power_mw), Some(90_000));
}

#[test]
fn metrics_of_no_gpu_are_no_gpu() {
    assert_eq!(read("up 1\nDCGM_FI_DEV_GPU_TEMP{host=\"a\"} 3\n"), []);
}

#[test]
fn what_holds_clocks_down_and_errors_are_read() {
    let text = "DCGM_FI_DEV_CLOCKS_EVENT_REASONS{gpu=\"0\"} 133\n\
                DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{gpu=\"0\"} 2\n\
                DCGM_FI_DEV_XID_ERRORS{gpu=\"0\"} 79\n\
                DCGM_FI_DEV_POWER_MGMT_LIMIT{gpu=\"0\"} 700\n";
    let gpu = read(text).remove(0);
    // Idle (1) is none of it.
    assert_eq!(gpu.throttle, ["HW_POWER_BRAKE_SLOWDOWN", "SW_POWER_CAP"]);
    assert_eq!((gpu.ecc_uncorrected, gpu.xid), (Some(2), Some(79)));
    assert_eq!(gpu.power_limit_mw, Some(700_000));
}
